// The queue says how many are chosen; the page of a batch fetches its own part while something is left to do.
(() => {
  "use strict";
  const choosing = () => {
    const many = document.getElementById("saga-many");
    if (!many) return;
    const picks = [...many.querySelectorAll("input[name=pick]")];
    const page = many.querySelector("[data-all]");
    const every = many.querySelector("[data-every]");
    const said = many.querySelector("[data-chosen]");
    const chosen = () => picks.filter((pick) => pick.checked).length;
    const show = () => {
      for (const pick of picks) pick.disabled = Boolean(every?.checked);
      if (page) { page.checked = chosen() > 0 && chosen() === picks.length; page.indeterminate = chosen() > 0 && chosen() < picks.length; }
      if (said) { said.textContent = !every?.checked && chosen() ? `${chosen()} chosen` : ""; said.classList.remove("saga-warning"); }
    };
    page?.addEventListener("change", () => { for (const pick of picks) pick.checked = page.checked; show(); });
    many.addEventListener("change", show);
    many.addEventListener("submit", (event) => {
      if (chosen() || every?.checked || !said) return;
      event.preventDefault();
      said.textContent = "Nothing is chosen: check some rows first.";
      said.classList.add("saga-warning");
    });
    window.addEventListener("pageshow", show);
    show();
  };
  choosing();
  document.addEventListener("backoffice:refreshed", choosing);

  const part = document.querySelector("[data-part]");
  if (part) {
    let timer = 0;
    const pollMs = () => Number(part.querySelector("[data-poll-ms]").dataset.pollMs);
    const schedule = () => { clearTimeout(timer); timer = pollMs() && !document.hidden ? setTimeout(refresh, pollMs()) : 0; };
    const refresh = async () => {
      try {
        const response = await fetch(part.dataset.part, { credentials: "same-origin", redirect: "error", cache: "no-store" });
        if (response.status === 403 || response.status === 404) return;
        if (response.ok) {
          const html = await response.text();
          if (html.includes("data-poll-ms")) part.innerHTML = html;
        }
      } catch { /* the network may come back */ }
      schedule();
    };
    document.addEventListener("visibilitychange", schedule);
    schedule();
  }
})();
