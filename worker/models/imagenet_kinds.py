"""ImageNet-1k's classes by the kinds of every day: the data of `kinds.py`.

A tree, after WordNet as ImageNet uses it (Deng et al. 2009).
"""

from __future__ import annotations

#: A kind, the kind that it is one of, and its classes: single ones, or all from one to another in ImageNet's
#: order. `+`: has room for every such thing that there is, so that its absence can be told. A line that
#: begins with spaces goes on with the one above.
TABLE = """
+animal: tench .. puffer
+dog < animal: Chihuahua .. Mexican hairless
+wolf < animal: timber wolf .. coyote
+fox < animal: red fox .. grey fox
+cat < animal: tabby .. Egyptian cat
+big cat < animal: cougar .. cheetah
+lion < big cat: lion
+tiger < big cat: tiger
+leopard < big cat: leopard, snow leopard
+bear < animal: brown bear .. sloth bear
+polar bear < bear: ice bear
+bird < animal: cock .. great grey owl, black grouse .. black swan, white stork .. albatross
+chicken < bird: cock, hen
+owl < bird: great grey owl
+parrot < bird: African grey .. lorikeet
+duck < bird: drake, red-breasted merganser
+swan < bird: black swan
+stork < bird: white stork, black stork
+penguin < bird: king penguin
eagle < bird: bald eagle
+fish < animal: tench .. stingray, barracouta .. puffer
+shark < fish: great white shark .. hammerhead
reptile < animal: loggerhead .. sidewinder
+turtle < reptile: loggerhead .. box turtle
+lizard < reptile: banded gecko .. Komodo dragon
+crocodile < reptile: African crocodile, American alligator
+snake < reptile: thunder snake .. sidewinder
+frog < animal: bullfrog .. tailed frog
salamander < animal: European fire salamander .. axolotl
+spider < animal: harvestman, black and gold garden spider .. wolf spider
+insect < animal: tiger beetle .. lycaenid
+beetle < insect: tiger beetle .. weevil
+butterfly < insect: admiral .. lycaenid
+crab < animal: Dungeness crab .. king crab, hermit crab
lobster < animal: American lobster .. crayfish
+monkey < animal: guenon .. squirrel monkey
+ape < animal: orangutan .. siamang
lemur < animal: Madagascar cat, indri
+whale < animal: grey whale, killer whale
+elephant < animal: tusker, Indian elephant, African elephant
+rabbit < animal: wood rabbit .. Angora
+horse < animal: sorrel
sheep < animal: ram, bighorn
+pig < animal: hog .. warthog
cow < animal: ox
+camel < animal: Arabian camel
kangaroo < animal: wallaby
snail < animal: snail
+panda < animal: giant panda
coral < animal: brain coral
vehicle: ambulance, amphibian, beach wagon, bullet train, cab, convertible, electric locomotive, fire
  engine, forklift, freight car, garbage truck, go-kart, golfcart, half track, harvester, horse cart, jeep,
  jinrikisha, limousine, minibus, minivan, Model T, moped, motor scooter, mountain bike,
  bicycle-built-for-two, moving van, oxcart, passenger car, pickup, police van, racer, recreational vehicle,
  school bus, snowmobile, snowplow, sports car, steam locomotive, streetcar, tank, thresher, tow truck,
  tractor, trailer truck, tricycle, trolleybus, unicycle, mobile home
+car < vehicle: ambulance, beach wagon, cab, convertible, jeep, limousine, minivan, Model T, police van,
  racer, sports car
+truck < vehicle: fire engine, garbage truck, moving van, pickup, tow truck, trailer truck
+bus < vehicle: minibus, school bus, trolleybus
+train < vehicle: bullet train, electric locomotive, freight car, passenger car, steam locomotive, streetcar
+bicycle < vehicle: bicycle-built-for-two, mountain bike
+motorcycle < vehicle: moped, motor scooter
+boat: aircraft carrier, canoe, catamaran, container ship, fireboat, gondola, lifeboat, liner, pirate,
  schooner, speedboat, submarine, trimaran, wreck, yawl
aircraft: airliner, airship, balloon, warplane
+airplane < aircraft: airliner, warplane
rocket: missile, projectile, space shuttle
structure: barn, beacon, bell cote, boathouse, breakwater, castle, church, cinema, cliff dwelling, crane,
  dam, dome, drilling platform, flagpole, fountain, greenhouse, library, megalith, monastery, mosque,
  obelisk, palace, pedestal, pier, planetarium, prison, radio telescope, steel arch bridge, stupa,
  suspension bridge, totem pole, triumphal arch, vault, viaduct, water tower, yurt
building < structure: barn, beacon, bell cote, boathouse, castle, church, cinema, dome, greenhouse, library,
  monastery, mosque, palace, planetarium, prison, stupa, yurt
+lighthouse < building: beacon
bridge < structure: steel arch bridge, suspension bridge, viaduct
musical instrument: accordion, acoustic guitar, banjo, bassoon, cello, chime, cornet, drum, electric guitar,
  flute, French horn, gong, grand piano, harmonica, harp, maraca, marimba, oboe, ocarina, organ, panpipe,
  sax, steel drum, trombone, upright, violin
guitar < musical instrument: acoustic guitar, electric guitar
piano < musical instrument: grand piano, upright
furniture: barber chair, bookcase, chiffonier, china cabinet, cradle, crib, desk, dining table,
  entertainment center, folding chair, four-poster, medicine chest, park bench, rocking chair, studio couch,
  throne, wardrobe
chair < furniture: barber chair, folding chair, rocking chair, throne
bed < furniture: four-poster, crib, cradle
tool: broom, can opener, chain saw, cleaver, corkscrew, hammer, hatchet, letter opener, plow, plunger, power
  drill, screwdriver, shovel
gun: assault rifle, revolver, rifle
food: guacamole .. pomegranate, carbonara .. burrito
fruit < food: Granny Smith .. pomegranate
apple < fruit: Granny Smith
vegetable < food: head cabbage .. mushroom
drink: red wine, espresso, eggnog
coffee < drink: espresso
cup: cup, coffee mug
bottle: beer bottle, pop bottle, water bottle, wine bottle
plant: rapeseed, daisy, yellow lady's slipper, corn
flower < plant: rapeseed, daisy, yellow lady's slipper
fungus: mushroom, coral fungus .. bolete
clothing: abaya, academic gown, apron, bearskin, bib, bikini, bonnet, bow tie, brassiere, cardigan, cloak,
  clog, cowboy boot, cowboy hat, fur coat, gown, hoopskirt, jean, jersey, kimono, lab coat, Loafer, maillot,
  maillot tank suit, military uniform, miniskirt, mitten, mortarboard, overskirt, pajama, poncho, running
  shoe, sandal, sarong, shower cap, sock, sombrero, stole, suit, sweatshirt, swimming trunks, trench coat,
  vestment, Windsor tie
shoe < clothing: clog, cowboy boot, Loafer, running shoe, sandal
hat < clothing: bearskin, bonnet, cowboy hat, mortarboard, shower cap, sombrero
helmet: crash helmet, football helmet, pickelhaube
computer: desktop computer, laptop, notebook, hand-held computer
telephone: cellular telephone, dial telephone, pay-phone
camera: Polaroid camera, reflex camera
clock: analog clock, digital clock, wall clock
ball: baseball, basketball, croquet ball, golf ball, ping-pong ball, rugby ball, soccer ball, tennis ball,
  volleyball
mountain: alp, volcano
"""

#: What people say as well: their word, and the name that stands for it.
SYNONYMS = """
kitten = cat; kitty = cat; puppy = dog; hound = dog; bunny = rabbit; alligator = crocodile; panda bear =
panda; plane = airplane; aeroplane = airplane; jet = airplane; ship = boat; sailboat = boat; sailing boat =
boat; bike = bicycle; motorbike = motorcycle; lorry = truck; automobile = car; taxi = cab; instrument =
musical instrument; phone = telephone; mobile phone = cellular telephone; cell phone = cellular telephone;
smartphone = cellular telephone; mug = coffee mug; coffee cup = cup; tv = television; bug = insect;
spaceship = space shuttle; german shepherd dog = german shepherd; alsatian = german shepherd
"""

#: Class names that mean something else as well: their absence says nothing of the other.
AMBIGUOUS = """
mouse crane bow nail ear hip file screen organ plane jay kite cock ram drake tank monitor pot brass switch
slot safe scale rule chest stole suit pick pole swing trifle lighter fly cricket racer admiral boxer monarch
cardigan sorrel newfoundland torch iron jersey ringlet robin tick eft papillon basset bonnet spindle
pirate groom tub reel chain coil hook buckle knot plate cup orange lemon fig corn ox hen tripod mask
drum stage packet plow throne wreck hay dough notebook pedestal vault velvet wool book web menu
"""
