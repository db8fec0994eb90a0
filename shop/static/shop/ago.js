// Keeps "3 min ago" and "in 12 s" true while a page is open; without it the times of the moment it was loaded stand.
(() => {
  "use strict";
  const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

  function span(seconds) {
    const [name, size] = UNITS.find(([, size]) => seconds >= size) || UNITS[3];
    return `${Math.floor(seconds / size)} ${name}`;
  }

  function refresh(root) {
    const now = Date.now();
    for (const time of root.querySelectorAll("time[data-ago]")) {
      const text = `${span(Math.max(0, now - Date.parse(time.dateTime)) / 1000)} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
    for (const time of root.querySelectorAll("time[data-until]")) {
      const seconds = (Date.parse(time.dateTime) - now) / 1000;
      const text = seconds > 0 ? `(in ${span(Math.ceil(seconds))})` : "(now)";
      if (time.textContent !== text) time.textContent = text;
    }
  }

  window.shopAgo = refresh;
  refresh(document);
  setInterval(() => { if (!document.hidden) refresh(document); }, 1000);
})();
