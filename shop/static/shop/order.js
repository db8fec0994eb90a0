// The page of an order refreshes itself while something is under way: it fetches its own story and changes only what
// is different, so nothing flickers and what was unfolded stays so. Stops when all is done, rests in a hidden tab.
(() => {
  "use strict";
  const page = document.getElementById("order");
  const story = document.getElementById("story");
  const announce = document.getElementById("shop-announce");
  let timer = 0;

  const pollMs = () => Number(story.querySelector("[data-poll-ms]").dataset.pollMs);
  const keyOf = (node) => (node.nodeType === Node.ELEMENT_NODE && node.dataset.key) || null;

  function morph(old, fresh) {
    if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) { old.replaceWith(fresh); return; }
    if (old.nodeType !== Node.ELEMENT_NODE) {
      if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
      return;
    }
    for (const { name, value } of [...fresh.attributes]) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
    for (const { name } of [...old.attributes]) if (name !== "open" && !fresh.hasAttribute(name)) old.removeAttribute(name);
    if (old.matches("time[data-ago], time[data-until]")) return;
    morphChildren(old, fresh);
  }

  function morphChildren(old, fresh) {
    const keyed = new Map([...old.children].filter(keyOf).map((node) => [keyOf(node), node]));
    let place = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const known = keyOf(child) ? keyed.get(keyOf(child)) : null;
      if (known) {
        if (known === place) place = place.nextSibling; else old.insertBefore(known, place);
        morph(known, child);
      } else if (!keyOf(child) && place && !keyOf(place)) {
        const next = place.nextSibling;
        morph(place, child);
        place = next;
      } else {
        old.insertBefore(child, place);
        if (keyOf(child) && child.classList.contains("shop-entry")) child.classList.add("shop-new");
      }
    }
    while (place) { const next = place.nextSibling; place.remove(); place = next; }
  }

  async function refresh() {
    timer = 0;
    try {
      const response = await fetch(page.dataset.story, { credentials: "same-origin", redirect: "error", cache: "no-store" });
      if (response.status === 403 || response.status === 404) return;
      if (response.ok) show(await response.text());
    } catch (error) {
      if (error instanceof SyntaxError) throw error; // the network may come back; a mistake of ours will not
    }
    schedule();
  }

  function show(html) {
    const sentence = () => story.querySelector("[data-announce]").textContent;
    const fresh = new DOMParser().parseFromString(html, "text/html").querySelector(".shop-story");
    if (!fresh) return;
    const before = sentence();
    morph(story.querySelector(".shop-story"), document.importNode(fresh, true));
    window.shopAgo(story);
    if (sentence() !== before) announce.textContent = sentence();
  }

  function schedule() {
    clearTimeout(timer);
    timer = pollMs() && !document.hidden ? setTimeout(refresh, pollMs()) : 0;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else if (pollMs()) refresh();
  });
  schedule();
})();
