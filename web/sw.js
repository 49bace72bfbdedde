// The page always comes from the network, so that it always fits its server. Only the notice "no connection" is kept;
// modules, API calls and sockets never pass through here.

const CACHE = "wimz-offline-1";
const NOTICE = "offline.html";
const KEPT = [NOTICE, "offline.css", "icon.svg"];

self.addEventListener("install", (event) => {
  event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(KEPT)).then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  const tidy = async () => {
    const names = await caches.keys();
    await Promise.all(names.filter((name) => name !== CACHE).map((name) => caches.delete(name)));
    await self.clients.claim();
  };
  event.waitUntil(tidy());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET") return;
  if (request.mode === "navigate") {
    event.respondWith(fetch(request).catch(() => caches.match(NOTICE)));
    return;
  }
  const kept = KEPT.some((name) => new URL(name, self.registration.scope).href === request.url);
  if (kept) event.respondWith(fetch(request).catch(() => caches.match(request)));
});
