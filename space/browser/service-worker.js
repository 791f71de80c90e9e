/**
 * Caches the page for use without a network, and blocks requests to other hosts.
 */
const worker = /** @type {any} */ (self); // TypeScript's types of pages and of workers exclude each other
worker.importScripts("files.js"); // any change of the page then changes this worker as well

/** @type {{version: string, first: string[], later: string[]}} */
const { version, first, later } = worker.FILES;
const CACHE = `page-${version}`;
const KNOWN = new Set(["./", ...first, ...later].map((name) => new URL(name, location.href).href));

worker.addEventListener("install", (/** @type {any} */ event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(["./", ...first])));
});

worker.addEventListener("activate", (/** @type {any} */ event) => {
  event.waitUntil(takeOver());
});

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  event.respondWith(answer(event.request));
});

/** Delete earlier versions, and serve the page that is already open. */
async function takeOver() {
  const names = (await caches.keys()).filter((name) => name.startsWith("page-") && name !== CACHE);
  await Promise.all(names.map((name) => caches.delete(name)));
  await worker.clients.claim();
}

/** @param {Request} request @returns {Promise<Response>} */
async function answer(request) {
  const address = new URL(request.url);
  if (address.origin !== location.origin) return Response.error();
  address.search = address.hash = "";
  if (!KNOWN.has(address.href)) return fetch(request);
  const cache = await caches.open(CACHE);
  const kept = await cache.match(address.href);
  if (kept) return kept;
  const response = await fetch(request);
  if (response.ok) await cache.put(address.href, response.clone());
  return response;
}
