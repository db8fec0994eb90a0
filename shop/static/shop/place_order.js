// The total as one types. Prices come from the server; the amount that counts is worked out there once more on saving.
(() => {
  "use strict";
  const total = document.getElementById("shop-total");
  const form = document.getElementById("order_form");
  const known = new Map();

  const lines = () => [...form.querySelectorAll("select[name^='lines-'][name$='-product']")]
    .filter((select) => !select.name.includes("__prefix__"))
    .map((select) => ({
      product: select.value,
      label: select.selectedOptions[0]?.text || "",
      row: select.closest("tr"),
      quantity: Number(form.elements[select.name.replace(/-product$/, "-quantity")].value),
    }))
    .filter((line) => line.product);

  // What a price looks like, with another number in it: the server knows the currency and where its sign goes.
  function money(minor, { price, decimals }) {
    const digits = { minimumFractionDigits: decimals, maximumFractionDigits: decimals };
    return price.replace(/[\d.,]+/, (minor / 10 ** decimals).toLocaleString("en", digits));
  }

  function note(row, text, bad) {
    const cell = row.querySelector(".field-product .select2").parentElement;
    let hint = cell.querySelector(".shop-hint");
    if (!hint) {
      hint = document.createElement("small");
      hint.className = "shop-hint";
      cell.append(hint);
    }
    hint.textContent = text;
    hint.classList.toggle("shop-hint-bad", bad);
  }

  function draw() {
    let sum = 0;
    let sample = null;
    let complete = true;
    const currencies = new Set();
    const wanted = new Map();
    for (const { product, quantity } of lines()) wanted.set(product, (wanted.get(product) || 0) + quantity);
    for (const hint of form.querySelectorAll(".shop-hint")) hint.textContent = "";
    for (const { product, row, quantity } of lines()) {
      const item = known.get(product);
      if (!item) {
        complete = false;
        continue;
      }
      const short = item.available < wanted.get(product);
      const left = item.available ? `${item.available} left` : "sold out";
      note(row, `${item.price} each · ${left}`, short);
      if (quantity > 0) sum += item.price_minor * quantity;
      sample = item;
      currencies.add(item.currency);
    }
    const mixed = currencies.size > 1;
    const shown = sample && complete && !mixed;
    document.getElementById("shop-total-amount").textContent = shown ? money(sum, sample) : "-";
    document.getElementById("shop-total-note").textContent =
      mixed ? `One order needs one currency, not ${[...currencies].sort().join(" and ")}.` : "";
    // The order is refused if it costs something else than the page says.
    form.elements.shown_total.value = shown ? sum : "";
  }

  async function update() {
    const missing = [...new Set(lines().map((line) => line.product))].filter((product) => !known.has(product));
    try {
      // In pieces: a web server takes addresses of some thousand letters.
      while (missing.length) await learn(missing.splice(0, 100));
    } catch { /* the total is a comfort: the order can be placed without it */ }
    draw();
  }

  async function learn(products) {
    const query = new URLSearchParams(products.map((product) => ["product", product]));
    const response = await fetch(`${total.dataset.prices}?${query}`, { credentials: "same-origin" });
    if (response.ok) for (const [id, item] of Object.entries(await response.json())) known.set(id, item);
  }

  // Going back to this page, or loading it again, brings back what was typed: the browser restores no row that was
  // added, and no product of a field that fetches its choices. The entry of the history keeps them.
  const KEPT = ["customer_name", "customer_email", "payment_method"];

  function keep() {
    const typed = lines().map(({ product, quantity, label }) => ({ product, quantity, label }));
    const fields = KEPT.map((name) => [name, form.elements[name].value]);
    history.replaceState({ ...history.state, typed, fields }, "");
  }

  function restore() {
    const { typed = [], fields = [] } = history.state || {};
    if (lines().length || !typed.length) return;
    for (const [name, value] of fields) form.elements[name].value ||= value;
    const free = () => [...form.querySelectorAll("select[name^='lines-'][name$='-product']")]
      .filter((select) => !select.name.includes("__prefix__") && !select.value);
    for (const { product, quantity, label } of typed) {
      if (!free().length) form.querySelector(".add-row").click();
      const [select] = free();
      if (!select) return;
      select.append(new Option(label, product, true, true));
      form.elements[select.name.replace(/-product$/, "-quantity")].value = quantity;
      django.jQuery(select).trigger("change");
    }
  }

  // Autocomplete fields tell of a change through jQuery only.
  django.jQuery(form).on("change", "select", update);
  form.addEventListener("input", draw);
  document.addEventListener("formset:added", () => { prepare(); update(); });

  // Taking a row away empties and hides it. The theme would renumber the rows below by their HTML, which forgets
  // what was typed into them; a row without a product counts as none anyway.
  function remove(button) {
    const row = button.closest("tbody");
    django.jQuery(row.querySelector("select")).val(null).trigger("change");
    row.hidden = true;
    form.querySelector(".add-row").focus();
  }

  function prepare() {
    for (const button of form.querySelectorAll(".delete-template")) {
      button.setAttribute("role", "button");
      button.setAttribute("aria-label", "Remove this product");
      button.tabIndex = 0;
    }
  }

  form.addEventListener("click", (event) => {
    const button = event.target.closest(".delete-template");
    if (!button) return;
    event.stopImmediatePropagation();
    remove(button);
  }, true);
  form.addEventListener("keydown", (event) => {
    if (!event.target.matches(".delete-template") || !["Enter", " "].includes(event.key)) return;
    event.preventDefault();
    remove(event.target);
  });
  prepare();

  // One click places one order; the hidden key sees to it on the server, too.
  form.addEventListener("submit", (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "1";
  });
  window.addEventListener("pageshow", () => { delete form.dataset.sent; });
  window.addEventListener("load", restore);
  window.addEventListener("pagehide", keep);
  update();
})();
