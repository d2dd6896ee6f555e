// The reader of the OpenAPI document: Swagger UI, which loads nothing from elsewhere.

// What a problem's type links to stands below the reader, and moves down while it is drawn.
const wanted = document.getElementById(location.hash.slice(1));

if (matchMedia("(prefers-color-scheme: dark)").matches) document.documentElement.classList.add("dark-mode");

window.SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#reader",
  // It would take any other part of the page for an operation.
  deepLinking: !wanted,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  // Its own validator is somebody else's server.
  validatorUrl: null,
  onComplete: () => requestAnimationFrame(() => wanted?.scrollIntoView()),
});
