import { isatty } from "node:tty"
import { Presets, SingleBar } from "cli-progress"
import type { StoreEvent, StoreListener } from "../store/fetch-file.ts"
import { formatBytes } from "./format.ts"
import { note } from "./output.ts"

/** Shows a download on standard error: a bar on a terminal, otherwise one line per quarter. */
export function showProgress(isTerminal = isatty(2)): StoreListener {
  return isTerminal ? terminalProgress() : plainProgress()
}

/** Shows the upload of a model's weights to a GPU: a bar on a terminal, otherwise nothing. */
export function showUpload(label: string, isTerminal = isatty(2)): (progress: { done: number; total: number }) => void {
  if (!isTerminal) return () => {}
  const show = terminalProgress()
  let started = false
  return ({ done, total }) => {
    if (!started) show({ type: "start", label: `loading ${label}`, total, done: 0 })
    started = true
    show({ type: "progress", done })
    if (done === total) show({ type: "end", ok: true })
  }
}

function terminalProgress(): StoreListener {
  let bar: SingleBar | undefined
  const format = "{label} [{bar}] {percentage} % | {doneText} of {totalText} | {speed}/s"
  let started = 0
  let startedAt = 0
  return (event) => {
    if (event.type === "note") return note(event.message)
    if (event.type === "start") {
      started = event.done
      startedAt = performance.now()
      // The cursor and line wrapping stay on: a killed process could not restore them.
      bar = new SingleBar({ format, hideCursor: false, linewrap: true, stream: process.stderr }, Presets.legacy)
      bar.start(event.total ?? 0, event.done, {
        label: event.label,
        doneText: formatBytes(event.done),
        totalText: event.total === undefined ? "?" : formatBytes(event.total),
        speed: formatBytes(0),
      })
    } else if (event.type === "progress") {
      const seconds = Math.max((performance.now() - startedAt) / 1000, 1e-3)
      const speed = formatBytes((event.done - started) / seconds)
      bar?.update(event.done, { doneText: formatBytes(event.done), speed })
    } else {
      bar?.stop()
      bar = undefined
    }
  }
}

function plainProgress(): StoreListener {
  let current: Extract<StoreEvent, { type: "start" }> | undefined
  let quarter = 0
  return (event) => {
    if (event.type === "note") return note(event.message)
    if (event.type === "start") {
      current = event
      quarter = event.total ? Math.floor((4 * event.done) / event.total) : 0
      const size = event.total === undefined ? "" : ` (${formatBytes(event.total)})`
      const resumed = event.done > 0 ? `, resuming at ${formatBytes(event.done)}` : ""
      note(`fetching ${event.label}${size}${resumed}`)
    } else if (event.type === "progress") {
      if (!current?.total) return
      const reached = Math.floor((4 * event.done) / current.total)
      if (reached > quarter && reached < 4) note(`  ${reached * 25} %`)
      quarter = Math.max(quarter, reached)
    } else {
      if (event.ok) note(`fetched ${current?.label ?? ""}`)
      current = undefined
    }
  }
}
