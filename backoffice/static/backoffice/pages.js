// What all admin pages share: a form has its first field ready for typing, and lists show by themselves what is new.
(() => {
  "use strict";
  const REFRESH_MS = 5000;

  const focusFirstField = () => {
    if (document.activeElement !== document.body || location.hash) return;
    const form = document.querySelector("#content [autofocus], #content form[id$=_form] :is(input, select, textarea):not([type=hidden], [disabled], [readonly])");
    form?.focus({ preventScroll: true });
  };

  // The part of the page that changes by itself: a table without check marks, or what says so.
  const changing = (page) => page.querySelector("[data-refresh], #result_list");
  const isInUse = (part) => Boolean(part.contains(document.activeElement)
    || part.querySelector("input:checked:not([type=hidden]), details[open]") || document.querySelector("dialog[open]"));

  const refresh = async () => {
    const part = changing(document);
    if (!part || document.hidden || isInUse(part)) return;
    try {
      const response = await fetch(location.href, { credentials: "same-origin", redirect: "error", cache: "no-store" });
      if (!response.ok) return;
      const found = changing(new DOMParser().parseFromString(await response.text(), "text/html"));
      if (!found || isInUse(part) || found.textContent === part.textContent) return;
      part.replaceWith(document.importNode(found, true));
      document.dispatchEvent(new Event("backoffice:refreshed"));
    } catch { /* the network may come back */ }
  };

  document.addEventListener("DOMContentLoaded", () => {
    const content = document.getElementById("content");
    if (content) content.tabIndex = -1;
    focusFirstField();
    // Django's script of the list's actions holds on to the check marks it found: such a list stays as it is.
    if (changing(document) && !document.querySelector("#result_list input.action-select")) setInterval(refresh, REFRESH_MS);
  });
})();
