// What all admin pages share: a form has its first field ready for typing, and lists show by themselves what is new.
(() => {
  "use strict";
  const REFRESH_MS = 5000;

  const focusFirstField = () => {
    if (document.activeElement !== document.body || location.hash) return;
    const form = document.querySelector("#content [autofocus], #content form[id$=_form] :is(input, select, textarea):not([type=hidden], [disabled], [readonly])");
    form?.focus({ preventScroll: true });
  };

  // The part of the page that changes by itself: a list's table, or what says so.
  const changing = (page) => page.querySelector("[data-refresh], #result_list");
  const isInUse = (part) => Boolean(part?.contains(document.activeElement)
    || part?.querySelector("input:checked:not([type=hidden]), details[open]") || document.querySelector("dialog[open]"));

  const refresh = async () => {
    const part = changing(document);
    if (document.hidden || isInUse(part)) return;
    try {
      const response = await fetch(location.href, { credentials: "same-origin", redirect: "error", cache: "no-store" });
      if (!response.ok) return;
      const found = changing(new DOMParser().parseFromString(await response.text(), "text/html"));
      if (isInUse(part) || found?.textContent === part?.textContent) return;
      if (!part || !found) { location.reload(); return; }  // the first row came, or the last one went
      part.replaceWith(document.importNode(found, true));
      // The script of a list's actions (unfold's actions.js) holds on to the check marks it found: it is given the new ones.
      const list = document.querySelector(".result-list-wrapper");
      const marks = list?.querySelectorAll("tr input.action-select") ?? [];
      if (marks.length) window.Actions(marks, { parent: list });
      document.dispatchEvent(new Event("backoffice:refreshed"));
    } catch { /* the network may come back */ }
  };

  document.addEventListener("DOMContentLoaded", () => {
    const content = document.getElementById("content");
    if (content) content.tabIndex = -1;
    focusFirstField();
    if (changing(document) || document.body.classList.contains("change-list")) setInterval(refresh, REFRESH_MS);
  });
})();
