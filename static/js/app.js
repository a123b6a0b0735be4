/* Small conveniences; every page works without them. */
"use strict";
(() => {
  const store = { get: (k) => { try { return localStorage.getItem(k); } catch { return null; } },
                  set: (k, v) => { try { localStorage.setItem(k, v); } catch { /* private mode */ } } };

  // "3 min ago" and running clocks, kept true without asking the server.
  const span = (s) => s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` :
    s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
  const clock = (s) => s < 60 ? `${s} s` : `${Math.floor(s / 60)} min ${s % 60} s`;
  function tick() {
    for (const t of document.querySelectorAll("time[data-relative]")) {
      const s = Math.round((Date.now() - Date.parse(t.dateTime)) / 1000);
      t.textContent = s < 0 ? `in ${span(-s)}` : s < 5 ? "just now" : `${span(s)} ago`;
      if (!t.dataset.local) { t.dataset.local = "1"; t.title = new Date(t.dateTime).toLocaleString(); }
    }
    for (const t of document.querySelectorAll("time[data-since]"))
      t.textContent = clock(Math.max(0, Math.floor((Date.now() - Date.parse(t.dateTime)) / 1000)));
  }
  setInterval(tick, 1000);

  // Copy buttons appear only where copying can work.
  function prepare(root) {
    for (const b of root.querySelectorAll("[data-copy]")) b.hidden = !navigator.clipboard;
    for (const b of root.querySelectorAll("[data-js]")) b.hidden = false;
    const titled = document.querySelector("[data-title]");
    if (titled) document.title = titled.dataset.title;
    tick();
  }
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const said = button.textContent;
    const { copy, copyFrom } = button.dataset;
    await navigator.clipboard.writeText(copy || document.getElementById(copyFrom).textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = said; }, 1500);
  });

  // A second click on the same button must look as harmless as it is.
  document.addEventListener("submit", (event) => {
    const button = event.submitter;
    if (!button || !button.dataset.busy) return;
    setTimeout(() => { button.disabled = true; button.textContent = button.dataset.busy; });
  });
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  // The build log: follow the end until the reader scrolls up, again when back there.
  let follow = store.get("zv-follow") !== "off";
  const toggles = {
    follow: (on) => { follow = on; if (on) end(); },
    wrap: (on) => document.querySelector(".steps")?.classList.toggle("nowrap-log", !on),
  };
  const atEnd = () => innerHeight + scrollY >= document.documentElement.scrollHeight - 60;
  const end = () => scrollTo(0, document.documentElement.scrollHeight);
  function press(name, on) {
    const b = document.querySelector(`[data-toggle=${name}]`);
    if (!b) return;
    b.setAttribute("aria-pressed", String(on));
    toggles[name](on);
  }
  document.addEventListener("click", (event) => {
    const b = event.target.closest("[data-toggle]");
    if (!b) return;
    const on = b.getAttribute("aria-pressed") !== "true";
    store.set(`zv-${b.dataset.toggle}`, on ? "on" : "off");
    press(b.dataset.toggle, on);
  });
  let lastY = 0;
  addEventListener("scroll", () => {
    if (document.querySelector("[data-toggle=follow]")) {
      if (scrollY < lastY - 4 && !atEnd()) { follow = false; press("follow", false); }
      else if (!follow && scrollY > lastY && atEnd() && store.get("zv-follow") !== "off") press("follow", true);
    }
    lastY = scrollY;
  }, { passive: true });

  // No polling from a hidden tab; htmx's own `every` goes on when it is shown again.
  document.addEventListener("htmx:configRequest", (event) => {
    if (document.hidden && !event.detail.triggeringEvent) event.preventDefault();
  });
  // A login page never lands in half a page.
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (new URL(event.detail.xhr.responseURL).pathname.startsWith("/-/partials/")) return;
    event.detail.shouldSwap = false;
    location.reload();
  });
  // Live parts are morphed: what did not change stays the same node, and keeps focus,
  // selection and scroll. What this script or the reader set stays too: an opened
  // detail, a shown button, the words of a clock.
  Object.assign(Idiomorph.defaults.callbacks, {
    beforeAttributeUpdated: (name, element) =>
      !(name === "open" && element.matches("details")) &&
      !(name === "hidden" && element.matches("[data-copy], [data-js]")),
    beforeNodeMorphed: (now, then) =>
      !(now.nodeName === "TIME" && then.nodeName === "TIME" && now.dateTime === then.dateTime),
  });
  // Where a section came in between, its neighbour is moved, and a selection in it lost.
  let selected = null;
  document.addEventListener("htmx:beforeSwap", () => {
    const { anchorNode, anchorOffset, focusNode, focusOffset, isCollapsed } = getSelection();
    selected = isCollapsed ? null : [anchorNode, anchorOffset, focusNode, focusOffset];
  });
  document.addEventListener("htmx:afterSwap", () => {
    if (!selected || !getSelection().isCollapsed) return;
    const [anchor, start, focus, end] = selected;
    const fits = (node, offset) => node.isConnected && offset <= (node.data ?? node.childNodes).length;
    if (fits(anchor, start) && fits(focus, end)) getSelection().setBaseAndExtent(anchor, start, focus, end);
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    prepare(document);
    if (event.detail.elt.id === "build-status") grew(event.detail.elt);
  });
  // A build's page has news. A reader who follows the log is shown its end; when the
  // build has ended badly, the reason, with the step that failed open and red.
  function grew(status) {
    const { ended } = status.dataset;
    const isBad = ended && ended !== "succeeded";
    if (isBad) for (const step of document.querySelectorAll(".step:has(.broke)")) step.open = true;
    const button = document.querySelector("[data-toggle=follow]");
    if (!button) return;
    if (follow && !isBad) end();
    if (follow && isBad) scrollTo(0, 0);
    if (ended) { follow = false; button.remove(); }
  }
  // What became of a poll that failed stays visible until one gets through.
  const offline = (on) => { const box = document.getElementById("offline"); if (box) box.hidden = !on; };
  document.addEventListener("htmx:sendError", () => offline(true));
  document.addEventListener("htmx:afterOnLoad", () => offline(false));

  prepare(document);
  press("wrap", store.get("zv-wrap") !== "off");
  press("follow", follow);
})();
