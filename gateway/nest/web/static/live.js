// The stream of events. EventSource comes back by itself, except after an HTTP error; then we ask again later.
const AGAIN_MS = 10000;

/**
 * @param {string} url
 * @param {{reading: (event: object) => void, connected: () => void, lost: () => void}} tell
 */
export function listen(url, tell) {
  const source = new EventSource(url);
  source.addEventListener("open", () => tell.connected());
  source.addEventListener("reading", (event) => tell.reading(JSON.parse(event.data)));
  source.addEventListener("error", () => {
    tell.lost();
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(() => listen(url, tell), AGAIN_MS * (1 + Math.random()));
  });
}
