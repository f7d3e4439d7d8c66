// Brings to the panel what widgets of ipywidgets cannot: files dropped or chosen, sent in pieces,
// keys, and sentences read out to those who do not see them.

const PIECE = 2 ** 20; // bytes of a message
const AHEAD = 8; // messages that wait for an answer
const PATIENCE = 20_000; // milliseconds for an answer
const LOST = "The connection to the kernel is lost and nothing arrives: load the page again.";

function sender(model, say) {
  let waiting = 0, go = () => {}, queue = Promise.resolve(), total = 0, sent = 0, stops = 0;
  let id = Math.floor(Math.random() * 2 ** 48); // other pages of the same kernel send as well
  model.on("msg:custom", (message) => {
    if (message.kind === "taken") { waiting -= 1; go(true); }
    if (message.kind === "stop") stops += 1;
  });
  async function answer() {
    const answered = await new Promise((resolve) => {
      go = resolve;
      setTimeout(() => resolve(false), PATIENCE);
    });
    if (!answered) throw new Error(LOST);
  }
  async function room() {
    while (waiting >= AHEAD) await answer();
    waiting += 1;
  }
  async function send(file) {
    id += 1;
    const facts = { kind: "piece", id, name: file.webkitRelativePath || file.name, size: file.size };
    if (file.size > model.get("max_bytes")) {
      await room();
      return model.send({ ...facts, kind: "too large" });
    }
    for (let at = 0; at === 0 || at < file.size; at += PIECE) {
      const piece = await file.slice(at, at + PIECE).arrayBuffer().catch(() => null);
      await room();
      if (!piece) return model.send({ ...facts, kind: "unreadable" });
      model.send(facts, undefined, [new DataView(piece)]);
    }
  }
  return (files) => {
    total += files.length;
    const before = stops;
    queue = queue.then(async () => {
      const end = sent + files.length;
      let failure = "";
      try {
        for (const file of files) {
          if (stops !== before) break;
          say(`Sending ${(sent += 1)} of ${total} files.`);
          await send(file);
        }
        while (waiting > 0 && end === total) await answer();
      } catch (error) {
        waiting = 0;
        failure = error.message;
      }
      sent = end;
      if (sent === total) sent = total = 0;
      if (failure || !total) say(failure);
    });
  };
}

async function inside(entry) {
  // The files of a dropped folder, or the file itself; what cannot be read fails when it is sent.
  const files = [];
  try {
    if (entry.isFile) return [await new Promise((resolve, reject) => entry.file(resolve, reject))];
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
      if (!some.length) return files;
      for (const one of some) files.push(...await inside(one));
    }
  } catch {
    const slice = () => ({ arrayBuffer: () => Promise.reject(new Error(entry.name)) });
    return [...files, { name: entry.name, size: 1, slice, isUnreadable: true }];
  }
}

async function dropped(transfer, suffixes) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files];
  const files = await Promise.all(entries.map(async (entry) => {
    const found = await inside(entry);
    const isImage = (file) => suffixes.some((end) => file.name.toLowerCase().endsWith(end));
    return entry.isFile ? found : found.filter((file) => file.isUnreadable || isImage(file));
  }));
  return files.flat();
}

function listen(root, model, send, signal) {
  const inLab = !document.body.dataset.voila;
  const scope = inLab ? root : document; // elsewhere in JupyterLab keys have meanings of their own
  if (inLab) { root.tabIndex = -1; root.dataset.lmSuppressShortcuts = "true"; }
  let byMouse = false; // a list chosen from by mouse gives its keys back
  scope.addEventListener("pointerdown", () => { byMouse = true; }, { signal, capture: true });
  scope.addEventListener("change", (event) => {
    if (!byMouse || event.target.tagName !== "SELECT") return;
    event.target.blur();
    if (inLab) root.focus({ preventScroll: true });
  }, { signal });
  scope.addEventListener("keydown", (event) => {
    byMouse = false;
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest?.("input, select, textarea, [contenteditable=true]")) return;
    const key = { ArrowLeft: "left", ArrowRight: "right" }[event.key] ?? event.key.toLowerCase();
    if (!/^([0-9anzm+]|left|right)$/.test(key)) return;
    event.preventDefault();
    event.stopPropagation();
    if (event.repeat && !event.key.startsWith("Arrow")) return; // a key held down answers once
    model.send({ kind: "key", key, chosen: model.get("chosen") });
  }, { signal, capture: true });
  const over = (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    root.classList.toggle("steel-over", event.type === "dragover");
  };
  for (const type of ["dragover", "dragleave"]) scope.addEventListener(type, over, { signal });
  scope.addEventListener("drop", async (event) => {
    over(event);
    if (event.dataTransfer?.types.includes("Files")) {
      send(await dropped(event.dataTransfer, model.get("suffixes")));
    }
  }, { signal });
}

function render({ model, el }) {
  const stop = new AbortController();
  el.classList.add("steel-bridge");
  el.innerHTML = `
    <input type="file" multiple hidden>
    <button class="steel-add" type="button">Add images</button>
    <p class="steel-hint"></p>
    <p class="steel-sending"></p>
    <div class="steel-aloud" role="status" aria-live="polite"></div>`;
  const [input, button, hint, sending, aloud] = el.children;
  input.accept = model.get("suffixes").join(",");
  hint.textContent = model.get("hint");
  const say = (text) => { sending.textContent = text; if (text === LOST) aloud.textContent = text; };
  const send = sender(model, say);
  button.addEventListener("click", () => input.click());
  input.addEventListener("change", () => { send([...input.files]); input.value = ""; });
  model.on("change:said", () => { aloud.textContent = model.get("said"); });
  const attach = () => {
    if (stop.signal.aborted) return;
    const root = el.closest(".steel");
    if (!root) { requestAnimationFrame(attach); return; }
    listen(root, model, send, stop.signal);
    model.send({ kind: "ready" });
  };
  attach();
  return () => stop.abort();
}

export default { render };
