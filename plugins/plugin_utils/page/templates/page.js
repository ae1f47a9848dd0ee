// Copyright (c) 2026, the kvm.hotplug authors
// GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

// Filters, sorts and expands the guests of a page. Without it, the page shows all of them in the order of the report.
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);
  const tables = [...document.querySelectorAll("table.guests")];
  const guests = tables.flatMap((table) => [...table.tBodies]);
  const pictures = guests.map((guest) => guest.querySelector("details"));
  const texts = new Map(guests.map((guest) => [guest, guest.textContent.toLowerCase()]));
  const order = new Intl.Collator(undefined, { numeric: true });

  function offer(select, values) {
    for (const value of [...new Set(values)].sort(order.compare)) {
      const option = document.createElement("option");
      option.value = option.textContent = value;
      select.append(option);
    }
  }

  function isSelected(select, value) {
    return select.value === "" || select.value === value;
  }

  function isWanted(guest) {
    return (
      texts.get(guest).includes(byId("search").value.trim().toLowerCase()) &&
      isSelected(byId("hypervisor"), guest.dataset.hypervisor) &&
      isSelected(byId("state"), guest.dataset.state) &&
      (!byId("attention").checked || "attention" in guest.dataset)
    );
  }

  function filter() {
    for (const guest of guests) guest.hidden = !isWanted(guest);
    const shown = guests.filter((guest) => !guest.hidden).length;
    byId("shown").textContent = `${shown} of ${guests.length} guests`;
  }

  function compare(column) {
    return (one, other) => {
      const [left, right] = [one, other].map((guest) => guest.rows[0].cells[column]);
      if ("key" in left.dataset && "key" in right.dataset) return left.dataset.key - right.dataset.key;
      return order.compare(left.textContent, right.textContent);
    };
  }

  function sort(table, column) {
    const headers = [...table.tHead.rows[0].cells];
    const backwards = headers[column].getAttribute("aria-sort") === "ascending";
    for (const header of headers) header.setAttribute("aria-sort", "none");
    headers[column].setAttribute("aria-sort", backwards ? "descending" : "ascending");
    const sorted = [...table.tBodies].sort(compare(column));
    table.append(...(backwards ? sorted.reverse() : sorted));
  }

  function makeSortable(table) {
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = header.textContent;
      button.addEventListener("click", () => sort(table, column));
      header.replaceChildren(button);
    });
  }

  function expand(open) {
    for (const picture of pictures) picture.open = open;
    byId("expand").setAttribute("aria-pressed", open);
  }

  function printAll() {
    const closed = pictures.filter((picture) => !picture.open);
    for (const picture of closed) picture.open = true;
    const close = () => closed.forEach((picture) => (picture.open = false));
    window.addEventListener("afterprint", close, { once: true });
  }

  tables.forEach(makeSortable);
  offer(byId("hypervisor"), guests.map((guest) => guest.dataset.hypervisor));
  offer(byId("state"), guests.map((guest) => guest.dataset.state));
  for (const control of ["search", "hypervisor", "state", "attention"]) byId(control).addEventListener("input", filter);
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
  byId("expand").addEventListener("click", () => expand(byId("expand").getAttribute("aria-pressed") !== "true"));
  window.addEventListener("beforeprint", printAll);
  byId("written").textContent = `Written ${new Date(document.lastModified).toLocaleString()}`;
  byId("written").hidden = false;
  byId("controls").hidden = guests.length === 0;
  // A reload may have kept what was entered.
  filter();
})();
