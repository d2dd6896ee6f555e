// The page: a form made from the catalogue, and jobs followed by long polls.
// Whatever comes from a person or a server reaches the document as text, never as markup.

const WAIT_S = 25;
const REFRESH_MS = 5000;
// Where this tab keeps its key; it goes when the tab is closed, and stands in no URL.
const KEY = "iconotext-key";
const MEANINGS = {
  unauthorized: "This key is not good: it is unknown, revoked or expired.",
  forbidden: "Your key may not do this.",
  storage_quota_exceeded: "You keep as much here as you may.",
  rate_limited: "You ask more often than you may.",
  too_many_jobs: "As many of your jobs wait as may.",
  overloaded: "The service has more to do than it can.",
};
const TERMINAL = new Set(["succeeded", "failed", "canceled", "expired"]);
const WORDS = {
  texts: ["Texts", "One per line"],
  text: ["Context", "What the text speaks of is what the answer turns to"],
  labels: ["Labels to choose from", "One per line; none: the model's own vocabulary"],
  fusion: ["How the text weighs in", ""],
  top_k: ["How many labels", ""],
  question: ["Question", ""],
  candidates: ["Answers to choose from", "One per line; none: any answer"],
  prompt: ["Prompt", "What to make, or how the sentence begins"],
  "style.name": ["Style", "One of the model's own, or give a picture below"],
  "style.image": ["Style picture", "Any picture, for its manner"],
  init_image: ["Picture to start from", ""],
  video: ["Film", "MP4, MOV, WebM, Matroska or AVI"],
  rules: ["What to watch for", "One per line: name: what it looks like"],
  sample_fps: ["Frames looked at a second", ""],
  max_tokens: ["Longest answer, in tokens", ""],
  max_objects: ["Most objects", ""],
  space: ["Vector space", ""],
  encoding: ["Encoding", ""],
};
// Fields that only programs have a use for.
const HIDDEN = new Set(["head", "encoding"]);

const $ = (id) => document.getElementById(id);

function make(tag, properties = {}, ...children) {
  const { className, ...attributes } = properties;
  const element = document.createElement(tag);
  if (className) element.className = className;
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== undefined && value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// ---------------------------------------------------------------- the service, and its door

let quietUntil = 0;

/** Send a request with this tab's key, where there is one; whoever is not let in is asked for another. */
async function ask(path, options = {}) {
  const key = sessionStorage.getItem(KEY);
  const headers = { ...options.headers, ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const response = await fetch(path, { ...options, headers });
  if (response.status === 401) openDoor(key ? MEANINGS.unauthorized : "");
  if (response.status === 429) quietUntil = Date.now() + secondsIn(response) * 1000;
  return response;
}

const secondsIn = (response) => Number(response.headers.get("Retry-After")) || 2;

/** Return the problem that a refusal holds, with what it means in front. */
async function problemOf(response) {
  const problem = await response.json();
  const meaning = MEANINGS[problem.code];
  if (!meaning) return problem;
  const again = response.headers.has("Retry-After") ? ` Try again in ${secondsIn(response)} s.` : "";
  return { detail: `${meaning}${again} (${problem.detail})`, errors: [] };
}

function openDoor(why) {
  $("door").hidden = false;
  $("door-why").textContent = why;
  $("key").focus();
}

function enter(event) {
  event.preventDefault();
  const key = $("key").value.trim();
  if (!/^[!-~]+$/.test(key)) return openDoor("A key is one word of letters and digits, and begins with ik_.");
  sessionStorage.setItem(KEY, key);
  $("key").value = "";
  $("door").hidden = true;
  begin();
}

function leave() {
  sessionStorage.removeItem(KEY);
  location.reload();
}

/** Have a picture show what only a request with a key brings. */
async function bring(image, href) {
  const response = await ask(href);
  if (!response.ok) return;
  image.src = URL.createObjectURL(await response.blob());
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
}

function stored(artifact) {
  const image = make("img", { alt: artifact.name });
  if (sessionStorage.getItem(KEY)) bring(image, artifact.href).catch(() => {});
  else image.src = artifact.href;
  return image;
}

/** Save a file that only a request with a key brings. */
async function save(event, { href, name }) {
  if (!sessionStorage.getItem(KEY)) return;
  event.preventDefault();
  const response = await ask(href);
  if (!response.ok) return;
  const url = URL.createObjectURL(await response.blob());
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

// ---------------------------------------------------------------- the form

const form = { tasks: [], task: null, photos: [] };

function fieldKind(name, schema, root) {
  const options = schema.anyOf ? schema.anyOf.filter((option) => option.type !== "null") : [schema];
  const main = options[0] ?? {};
  const ref = (node) => (node?.$ref ? root.$defs?.[node.$ref.split("/").pop()] : node) ?? {};
  const isImage = (node) => ref(node).properties?.kind?.const === "image";
  if (isImage(main)) return { kind: "image" };
  if (ref(main).properties?.kind?.const === "video") return { kind: "video" };
  if (main.type === "array" && ref(main.items).properties?.text) return { kind: "rules" };
  if (ref(main).properties && main.$ref) return { kind: "parts", inside: ref(main) };
  if (main.type === "array" && isImage(main.items)) return { kind: "images" };
  if (main.type === "array" && ref(main.items).type === "string") return { kind: "lines" };
  if (main.enum) return { kind: "choice", options: main.enum };
  if (main.type === "integer" || main.type === "number") return { kind: "number", min: main.minimum, max: main.maximum, whole: main.type === "integer" };
  if (main.type === "string") return { kind: "words" };
  return { kind: "unknown" };
}

/** Return a schema's fields; those of an object in it stand beside the others, under names with a dot. */
function fieldsOf(schema, root, before = "") {
  return Object.entries(schema.properties).flatMap(([name, node]) => {
    const found = { field: before + name, node, ...fieldKind(name, node, root) };
    return found.kind === "parts" ? fieldsOf(found.inside, root, `${found.field}.`) : [found];
  });
}

/** The picture that is asked for first has the large place at the top; others get a field each. */
function splitPictures(fields) {
  const first = fields.find(({ kind }) => kind === "image" || kind === "images");
  return fields.map((field) => (field.kind === "image" && field !== first ? { ...field, kind: "picture" } : field));
}

function chooseTask(name) {
  form.task = form.tasks.find((task) => task.name === name);
  const { input_schema: schema, summary, limits } = form.task;
  $("summary").textContent = summary;
  $("photo-limits").textContent =
    `JPEG, PNG, WebP, GIF, BMP or TIFF, up to ${Math.round(limits.file_bytes / 2 ** 20)} MB and ${limits.image_pixels / 1e6} megapixels each`;
  form.fields = splitPictures(fieldsOf(schema, schema));
  const pictures = form.fields.find(({ kind }) => kind === "image" || kind === "images");
  $("photos-field").hidden = !pictures;
  $("picker").multiple = pictures?.kind === "images";
  if (pictures?.kind === "image") form.photos.splice(0, Math.max(0, form.photos.length - 1)).forEach(forget);
  const kept = readFields();
  const small = [];
  $("fields").replaceChildren();
  for (const field of form.fields) {
    if (HIDDEN.has(field.field) || ["image", "images", "unknown"].includes(field.kind)) continue;
    const element = control(field, kept.get(field.field), (schema.required ?? []).includes(field.field));
    if (field.kind === "choice" || field.kind === "number") small.push(element);
    else $("fields").append(element);
  }
  if (small.length) $("fields").append(make("div", { className: "pair" }, ...small));
  showPhotos();
}

function control({ field, node, kind, options, min, max }, value, isRequired) {
  const [title, hint] = WORDS[field] ?? [field.replaceAll("_", " "), ""];
  const id = `field-${field}`;
  const given = value ?? node.default ?? "";
  let input;
  if (kind === "video" || kind === "picture") {
    input = make("input", { id, type: "file", accept: kind === "video" ? "video/*" : "image/*" });
  } else if (kind === "lines" || kind === "rules") input = make("textarea", { id, rows: 3, spellcheck: "true" });
  else if (kind === "choice") input = make("select", { id }, ...options.map((option) => make("option", { value: option }, option)));
  else if (kind === "number") input = make("input", { id, type: "number", min, max });
  else input = make("input", { id, type: "text", autocomplete: "off" });
  if (input.type !== "file") input.value = Array.isArray(given) ? given.join("\n") : given;
  input.dataset.field = field;
  const note = [isRequired ? "" : kind === "lines" || kind === "words" ? "optional" : "", hint].filter(Boolean).join("; ").toLowerCase();
  return make("label", { className: "field", for: id }, make("span", {}, title, note ? make("small", {}, ` (${note})`) : null), input);
}

function readFields() {
  return new Map([...document.querySelectorAll("[data-field]")].map((input) => [input.dataset.field, input.value]));
}

function put(input, field, value) {
  const path = field.split(".");
  const last = path.pop();
  path.reduce((inside, name) => (inside[name] ??= {}), input)[last] = value;
}

/** Add the files that have fields of their own: a film is stored first, since no submit is as large. */
async function addFiles(input, body) {
  for (const { field, kind } of form.fields) {
    const [file] = (kind === "video" || kind === "picture" ? $(`field-${field}`)?.files : null) ?? [];
    if (!file) continue;
    if (kind === "picture") {
      body.append(`file-${field}`, file);
      put(input, field, { part: `file-${field}` });
      continue;
    }
    const response = await ask("/v1/files", { method: "POST", headers: { "Content-Type": "application/octet-stream" }, body: file });
    if (!response.ok) return problemOf(response);
    put(input, field, { file: (await response.json()).id });
  }
  return null;
}

const rule = (line) => {
  const [name, ...rest] = line.split(":");
  return { name: name.trim(), text: (rest.join(":") || name).trim() };
};

function inputOf() {
  const values = readFields();
  const input = {};
  const parts = form.photos.map((_, index) => `photo-${index + 1}`);
  for (const { field, kind, whole } of form.fields) {
    if (kind === "image" && parts.length) input[field] = { part: parts[0] };
    if (kind === "images") input[field] = parts.map((part) => ({ part }));
    const value = kind === "video" || kind === "picture" ? "" : (values.get(field) ?? "").trim();
    if (!value) continue;
    const lines = value.split("\n").map((line) => line.trim()).filter(Boolean);
    if (kind === "lines") put(input, field, lines);
    else if (kind === "rules") put(input, field, lines.map(rule));
    else if (kind === "number") put(input, field, whole ? parseInt(value, 10) : Number(value));
    else put(input, field, value);
  }
  return input;
}

function addPhotos(files) {
  const isSingle = !$("picker").multiple;
  for (const file of files) {
    if (isSingle) form.photos.splice(0).forEach(forget);
    form.photos.push({ file, url: URL.createObjectURL(file) });
  }
  showPhotos();
}

function forget(photo) {
  // A job card may still show it.
  if (!photo.shown) URL.revokeObjectURL(photo.url);
}

function showPhotos() {
  $("photos").replaceChildren(
    ...form.photos.map((photo, index) =>
      make("div", { className: "photo" },
        make("img", { src: photo.url, alt: photo.file.name, title: photo.file.name }),
        make("button", { type: "button", "aria-label": `Remove ${photo.file.name}`,
          onclick: () => { form.photos.splice(index, 1).forEach(forget); showPhotos(); } }, "×"))));
}

async function submit(event) {
  event.preventDefault();
  const body = new FormData();
  const photos = $("photos-field").hidden ? [] : form.photos.slice();
  const input = inputOf();
  $("go").disabled = true;
  $("faults").hidden = true;
  try {
    const problem = await addFiles(input, body);
    if (problem) return showFaults(problem);
    body.append("request", JSON.stringify({ task: form.task.name, input }));
    photos.forEach((photo, index) => body.append(`photo-${index + 1}`, photo.file));
    const response = await ask("/v1/jobs", { method: "POST", body });
    if (!response.ok) return showFaults(await problemOf(response));
    const answer = await response.json();
    photos.forEach((photo) => { photo.shown = true; });
    follow(card(answer.id, { input, photos }), answer);
    refreshRecent();
  } catch {
    showFaults({ detail: "The service cannot be reached. Nothing was submitted; try again in a moment.", errors: [] });
  } finally {
    $("go").disabled = false;
  }
}

function showFaults(problem) {
  const faults = problem.errors?.length ? problem.errors : [{ pointer: "", detail: problem.detail }];
  $("faults").replaceChildren(...faults.slice(0, 8).map(({ pointer, detail }) =>
    make("p", {}, pointer ? make("code", {}, pointer.replace(/^\/input\//, "")) : null, pointer ? ": " : "", detail)));
  $("faults").hidden = false;
}

// ---------------------------------------------------------------- jobs

const followed = new Set();

function card(id, sent) {
  $("empty").hidden = true;
  document.querySelector(`[data-job="${CSS.escape(id)}"]`)?.remove();
  const element = make("article", { className: "card job", "data-job": id });
  $("jobs").prepend(element);
  return { element, sent };
}

async function follow(view, job) {
  let etag = "";
  if (job) show(view, job);
  const id = view.element.dataset.job;
  if (followed.has(id)) return;
  followed.add(id);
  try {
    while (view.element.isConnected && !(job && TERMINAL.has(job.status))) {
      const headers = etag ? { "If-None-Match": etag } : {};
      if (!$("door").hidden) {
        await pause(500);
        continue;
      }
      try {
        const response = await ask(`/v1/jobs/${id}?wait=${etag ? WAIT_S : 0}`, { headers });
        if (response.status === 404) return view.element.remove();
        if (response.ok) {
          etag = response.headers.get("ETag");
          job = await response.json();
          show(view, job);
        } else if (response.status !== 304) await pause(secondsIn(response) * 1000);
      } catch {
        await pause(2000);
      }
    }
  } finally {
    followed.delete(id);
    refreshRecent();
  }
}

function show(view, job) {
  const isOver = TERMINAL.has(job.status);
  const fraction = job.status === "succeeded" ? 1 : job.progress.fraction;
  const fill = make("i");
  fill.style.width = job.status === "queued" ? "" : `${Math.round(fraction * 100)}%`;
  view.element.replaceChildren(
    make("header", {},
      make("h3", {}, job.task), make("span", { className: `pill ${job.status}` }, job.status), make("code", {}, shortId(job.id)),
      make("div", { className: "end" },
        isOver || job.status === "canceling" ? null : make("button", { className: "quiet", type: "button", onclick: () => cancel(view, job) }, "Cancel"),
        make("button", { className: "quiet", type: "button", "aria-label": "Close", onclick: () => view.element.remove() }, "Close"))),
    ...(isOver ? [] : [make("div", { className: job.status === "queued" ? "bar waiting" : "bar" }, fill), make("div", { className: "stage" }, stageOf(job)),
      ...(job.progress.preview ? [make("div", { className: "shots" }, make("img", { src: job.progress.preview, alt: "What it looks like so far" }))] : [])]),
    ...(isOver && job.status === "succeeded" ? [] : [shots(view)]),
    job.error ? make("div", { className: "faults" }, make("p", {}, make("code", {}, job.error.code), ": ", job.error.message)) : "",
    job.status === "succeeded" ? make("div", { className: "result" }, resultOf(job, view.sent)) : "",
    ...(isOver ? [facts(job)] : []));
}

function shots(view) {
  const photos = view.sent?.photos ?? [];
  return photos.length ? make("div", { className: "shots" }, ...photos.map(({ url, file }) => make("img", { src: url, alt: file.name }))) : "";
}

function stageOf(job) {
  if (job.status === "queued") {
    const ahead = job.queue?.position;
    return ahead ? `Waiting; ${ahead} before it` : "Waiting for a worker";
  }
  const attempt = job.attempt > 1 ? ` · attempt ${job.attempt}` : "";
  return `${job.status === "canceling" ? "Stopping" : job.progress.stage || "Starting"} ${job.progress.message}${attempt}`.trim();
}

async function cancel(view, job) {
  const response = await ask(job.links.cancel, { method: "POST" });
  if (response.ok) show(view, await response.json());
  else showFaults(await problemOf(response));
}

function facts(job) {
  const models = job.provenance?.models ?? [];
  const rows = [
    ["Job", job.id],
    ["Models", models.map((model) => `${model.id} (${model.grade})`).join(", ")],
    ["Device", [job.provenance?.profile, job.provenance?.device, job.provenance?.dtype].filter(Boolean).join(" · ")],
    ["Times", Object.entries(job.timings_ms).map(([name, ms]) => `${name} ${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`).join(" · ")],
    ["Largest batch", job.batch ? String(job.batch.size) : ""],
    ["Attempts", String(job.attempt)],
    ["Kept until", job.expires_at ? new Date(job.expires_at).toLocaleString() : ""],
  ].filter(([, value]) => value);
  return make("details", {},
    make("summary", {}, "How this was made"),
    make("dl", { className: "facts" }, ...rows.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)])),
    job.result ? make("details", {}, make("summary", {}, "JSON"), make("pre", {}, clip(JSON.stringify(job.result, null, 1)))) : null);
}

const shortId = (id) => `…${id.slice(-8)}`;
const clip = (text) => (text.length > 20000 ? `${text.slice(0, 20000)}\n…` : text);

// ---------------------------------------------------------------- results

function resultOf(job, sent) {
  const { result } = job;
  const body = document.createDocumentFragment();
  if (Array.isArray(result.scores)) body.append(matrix(result, sent));
  else if (Array.isArray(result.labels)) body.append(labels(result, sent));
  else if (Array.isArray(result.text_vectors)) body.append(vectors(result, sent));
  else if (Array.isArray(result.shots)) body.append(film(result));
  else if (Array.isArray(result.objects)) body.append(table(["object", "score", "box"], result.objects.map((one) => [one.label, one.score.toFixed(2), one.box.map(Math.round).join(" ")])));
  else if (Array.isArray(result.tokens)) body.append(tokens(result));
  else if (Array.isArray(result.evidence)) body.append(labels({ labels: result.evidence, description: result.text }, sent));
  else if (Array.isArray(result.alternatives)) body.append(labels({ labels: [result, ...result.alternatives].map((one) => ({ label: one.answer, score: one.confidence })) }, sent));
  else body.append(make("pre", {}, clip(JSON.stringify(result, null, 1))));
  for (const artifact of job.artifacts) {
    body.append(artifact.media_type.startsWith("image/")
      ? make("div", { className: "shots" }, stored(artifact))
      : make("p", {}, make("a", { href: artifact.href, onclick: (event) => save(event, artifact) }, artifact.name)));
  }
  return body;
}

function table(headings, rows) {
  return make("div", { className: "scroll" }, make("table", { className: "matrix" },
    make("thead", {}, make("tr", {}, ...headings.map((name) => make("th", { scope: "col" }, name)))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell)))))));
}

/** The text's words, each as strong as it weighs. */
function tokens({ score, tokens: words }) {
  const most = Math.max(...words.map(({ weight }) => Math.abs(weight)), 1e-6);
  return make("p", { className: "quote" }, `${score.toFixed(3)}: `, ...words.flatMap(({ token, weight }) => {
    const word = make("span", { title: weight.toFixed(3) }, token);
    word.style.opacity = 0.35 + 0.65 * Math.max(0, weight / most);
    word.style.fontWeight = weight > most / 2 ? 700 : 400;
    return [word, " "];
  }));
}

function film({ shots, events, duration_s: length }) {
  const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;
  const named = (found) => found.slice(0, 3).map(({ label, score }) => `${label} ${Math.round(score * 100)} %`).join(", ");
  return make("div", {}, make("p", {}, `${shots.length} shots in ${clock(length)}`),
    table(["shot", "from", "to", "labels", "caption"], shots.map((shot, index) =>
      [String(index + 1), clock(shot.start_s), clock(shot.end_s), named(shot.labels), shot.caption ?? ""])),
    events.length ? table(["event", "from", "to", "score"], events.map((event) =>
      [event.rule, clock(event.start_s), clock(event.end_s), event.score.toFixed(2)])) : null);
}

function picture(sent, index) {
  const photo = sent?.photos?.[index];
  return photo ? make("img", { src: photo.url, alt: photo.file.name, title: photo.file.name }) : `image ${index + 1}`;
}

function matrix({ scores, best_texts: bestTexts = [] }, sent) {
  const all = scores.flat();
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const texts = sent?.input?.texts ?? (scores[0] ?? []).map((_, index) => `text ${index + 1}`);
  const cell = (score, isBest) => {
    const element = make("td", { className: isBest ? "best" : "" }, score.toFixed(3));
    element.style.setProperty("--value", high > low ? (score - low) / (high - low) : 1);
    return element;
  };
  return make("div", { className: "scroll" }, make("table", { className: "matrix" },
    make("thead", {}, make("tr", {}, make("th"), ...texts.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...scores.map((row, i) => make("tr", {},
      make("th", { scope: "row" }, picture(sent, i)), ...row.map((score, j) => cell(score, bestTexts[i] === j)))))));
}

function labels({ labels: found, description }, sent) {
  const bars = make("div", { className: "labels" }, ...found.flatMap(({ label, score }, index) => {
    const fill = make("i");
    fill.style.width = `${Math.round(score * 100)}%`;
    return [make("span", { className: index ? "name" : "name top1" }, label), make("div", { className: "track" }, fill),
      make("span", { className: "number" }, `${(score * 100).toFixed(1)} %`)];
  }));
  const words = make("div", {}, description ? make("p", { className: "quote" }, description) : null, bars);
  return sent?.photos?.length ? make("div", { className: "side" }, picture(sent, 0), words) : words;
}

function vectors({ image_vectors: images, text_vectors: texts, dim }, sent) {
  const named = [
    ...images.map((vector, index) => [sent?.photos?.[index]?.file.name ?? `image ${index + 1}`, vector, index]),
    ...texts.map((vector, index) => [sent?.input?.texts?.[index] ?? `text ${index + 1}`, vector, null]),
  ];
  const body = make("div", {}, make("p", {}, `${named.length} vectors of ${dim} dimensions`));
  const numeric = named.filter(([, vector]) => Array.isArray(vector));
  if (numeric.length > 1 && numeric.length <= 24) {
    const dot = (a, b) => a.reduce((sum, value, index) => sum + value * b[index], 0);
    const scores = numeric.map(([, a]) => numeric.map(([, b]) => dot(a, b)));
    const cells = scores.map((row, i) => make("tr", {},
      make("th", { scope: "row" }, numeric[i][2] === null ? numeric[i][0] : picture(sent, numeric[i][2])),
      ...row.map((score) => { const td = make("td", {}, score.toFixed(2)); td.style.setProperty("--value", Math.max(0, score)); return td; })));
    body.append(make("div", { className: "scroll" }, make("table", { className: "matrix" },
      make("thead", {}, make("tr", {}, make("th"), ...numeric.map(([name]) => make("th", { scope: "col" }, name)))), make("tbody", {}, ...cells))));
  }
  for (const [name, vector] of named.slice(0, 6)) {
    const preview = Array.isArray(vector) ? `[${vector.slice(0, 8).map((value) => value.toFixed(4)).join(", ")}, …]` : `${vector.slice(0, 60)}…`;
    body.append(make("div", {}, name), make("code", { className: "vector" }, preview));
  }
  return body;
}

// ---------------------------------------------------------------- health and recent jobs

async function refreshHealth() {
  const chip = $("health");
  try {
    const response = await fetch("/readyz");
    const { checks } = await response.json();
    if (!response.ok) throw new Error("not ready");
    const workers = `${checks.workers} worker${checks.workers === 1 ? "" : "s"}`;
    chip.className = `chip ${checks.workers && checks.queue === "ok" ? "good" : "warm"}`;
    chip.textContent = checks.workers ? `${workers} ready${checks.queue === "ok" ? "" : " · queue down, jobs still run"}` : "no worker yet; jobs will wait";
  } catch {
    chip.className = "chip bad";
    chip.textContent = "service not ready";
  }
}

async function refreshBacklog() {
  const response = await ask("/v1/jobs?status=queued&page_size=100").catch(() => null);
  const { jobs, next_page_token: more } = response?.ok ? await response.json() : { jobs: [] };
  $("backlog").hidden = !jobs.length;
  $("backlog").textContent = `${jobs.length}${more ? "+" : ""} waiting`;
}

async function refreshRecent() {
  const response = await ask("/v1/jobs?page_size=12").catch(() => null);
  if (!response) return;
  if (!response.ok) {
    $("no-recent").hidden = false;
    $("no-recent").textContent = (await problemOf(response)).detail;
    return;
  }
  const { jobs } = await response.json();
  $("no-recent").hidden = jobs.length > 0;
  $("no-recent").textContent = "No jobs yet.";
  $("recent").replaceChildren(...jobs.map((job) => make("li", {},
    make("button", { type: "button", onclick: () => open(job.id) },
      make("span", {}, job.task), make("span", { className: `pill ${job.status}` }, job.status), make("code", {}, job.id),
      make("time", { datetime: job.created_at }, new Date(job.created_at).toLocaleTimeString())))));
}

function open(id) {
  const present = document.querySelector(`[data-job="${CSS.escape(id)}"]`);
  if (!present) follow(card(id, null), null);
  (present ?? $("jobs")).scrollIntoView({ behavior: "smooth", block: "nearest" });
}

async function refreshForever() {
  for (;;) {
    if (!document.hidden) await refreshHealth();
    if (!document.hidden && $("door").hidden) await Promise.all([refreshBacklog(), refreshRecent()]);
    await pause(Math.max(REFRESH_MS, quietUntil - Date.now()));
  }
}

async function start() {
  const response = await ask("/v1/tasks");
  if (response.status === 401) return;
  if (response.status === 403) return openDoor((await problemOf(response)).detail);
  $("main").hidden = false;
  $("leave").hidden = !sessionStorage.getItem(KEY);
  if (!response.ok) return showFaults(await problemOf(response));
  const { tasks } = await response.json();
  form.tasks = tasks;
  const preferred = tasks.find(({ name }) => name === (form.task?.name ?? "match")) ?? tasks[0];
  $("tasks").replaceChildren(...tasks.map(({ name, available, unavailable_because: why }) => make("label", { title: why },
    make("input", { type: "radio", name: "task", value: name, checked: name === preferred.name, disabled: available === false, onchange: () => chooseTask(name) }), make("span", {}, name))));
  chooseTask(preferred.name);
}

$("form").addEventListener("submit", submit);
$("picker").addEventListener("change", (event) => { addPhotos(event.target.files); event.target.value = ""; });
for (const [name, isOver] of [["dragenter", true], ["dragover", true], ["dragleave", false], ["drop", false]]) {
  $("drop").addEventListener(name, (event) => {
    event.preventDefault();
    $("drop").classList.toggle("over", isOver);
    if (name === "drop") addPhotos([...event.dataTransfer.files].filter((file) => file.type.startsWith("image/")));
  });
}

function begin() {
  start().catch(() => {
    $("main").hidden = false;
    showFaults({ detail: "The catalogue cannot be read. Reload the page in a moment.", errors: [] });
  });
}

$("door").addEventListener("submit", enter);
$("leave").addEventListener("click", leave);
begin();
refreshForever();
