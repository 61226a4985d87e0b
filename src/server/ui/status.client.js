// @ts-check
// Refreshes the status page from /health every second while the page is visible.

const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id))
const count = new Intl.NumberFormat("en")

/** @param {number} seconds */
function duration(seconds) {
  const parts = [
    [Math.floor(seconds / 86400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "min"],
    [Math.floor(seconds) % 60, "s"],
  ]
  const first = parts.findIndex(([n]) => n !== 0)
  return (first < 0 ? [[0, "s"]] : parts.slice(first, first + 2)).map((part) => part.join(" ")).join(" ")
}

/** @param {Element} card @param {Record<string, string>} fields */
function fill(card, fields) {
  for (const [name, text] of Object.entries(fields)) {
    const element = card.querySelector(`[data-field="${name}"]`)
    if (element !== null && element.textContent !== text) element.textContent = text
  }
}

/** The card of a model; created if the page has none yet. @param {string} id */
function cardOf(id) {
  const models = byId("models")
  const known = [...models.children].find((card) => card.getAttribute("data-model") === id)
  if (known !== undefined) return known
  const template = /** @type {HTMLTemplateElement} */ (byId("model-template"))
  const card = /** @type {Element} */ (template.content.cloneNode(true).firstChild)
  card.setAttribute("data-model", id)
  return models.appendChild(card)
}

/** @param {any} health The body of GET /health; a 503 has one, too. */
function show(health) {
  const ok = health.status === "ok"
  byId("state").className = ok ? "ok" : "down"
  byId("state").textContent = ok
    ? `Running for ${duration(health.uptime_seconds)} · version ${health.version}`
    : `Not serving (${health.status}): ${health.reason}`
  for (const model of health.models) {
    const { total, free } = model.kv_blocks
    const card = cardOf(model.id)
    const device = model.device === null ? "" : ` · ${model.device.backend}: ${model.device.name}`
    fill(card, {
      id: model.id,
      device: `${model.arch}${device}`,
      state: model.reason === null ? model.state : `${model.state}: ${model.reason}`,
      running: `${count.format(model.running)} of ${count.format(model.max_seqs)}`,
      waiting: count.format(model.waiting),
      context: model.context_length === null ? "–" : `${count.format(model.context_length)} tokens`,
      steps: count.format(model.steps),
      blocks: `${count.format(free)} of ${count.format(total)} KV blocks free`,
    })
    card.setAttribute("data-state", model.state)
    const meter = /** @type {HTMLMeterElement} */ (card.querySelector("meter"))
    meter.value = total > 0 ? (total - free) / total : 0
  }
  showExample(health.models[0]?.id)
}

/** @param {string | undefined} model */
function showExample(model) {
  const example = byId("example")
  if (model === undefined || example.textContent !== "") return
  byId("base-url").textContent = `${location.origin}/v1`
  const body = JSON.stringify({ model, messages: [{ role: "user", content: "Why is the sky blue?" }], stream: true })
  const quoted = body.replaceAll("'", "'\\''")
  example.textContent = `curl -N ${location.origin}/v1/chat/completions \\\n  -H 'content-type: application/json' \\\n  -d '${quoted}'`
}

async function refresh() {
  try {
    const response = await fetch("/health", { cache: "no-store" })
    if (!response.ok && response.status !== 503) throw new Error(`status ${response.status}`)
    show(await response.json())
  } catch (error) {
    byId("state").className = "down"
    byId("state").textContent = `The server does not respond (${error instanceof Error ? error.message : error}).`
  }
}

async function run() {
  for (;;) {
    if (!document.hidden) await refresh()
    await new Promise((resolve) => setTimeout(resolve, 1000))
  }
}

run()
