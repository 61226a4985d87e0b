/** The engine process: runs an engine and answers its parent over the IPC channel. */

import { EngineError } from "../../errors.ts"
import { type LoadOptions, loadEngine } from "../load.ts"
import type { Engine, GenerateRequest, LoadedEngine } from "../types.ts"
import { Outbox } from "./outbox.ts"
import { type FromChild, PROTOCOL, parseToChild } from "./protocol.ts"
import { toWire } from "./wire-error.ts"

type EngineLoader = (path: string, options: LoadOptions) => Promise<LoadedEngine>

/**
 * Turns this process into an engine for its parent. It exits when the parent asks for it or is gone. It ignores SIGINT, SIGTERM and SIGHUP,
 * which terminals and service managers send to parent and child alike: the parent handles them.
 */
export function runEngineProcess(load: EngineLoader = loadEngine): void {
  if (!process.send) {
    console.error("rocmforge: this command is for the server's own use; run `rocmforge serve` instead")
    process.exit(2)
  }
  const child = new EngineChild(load, (message) => void process.send?.(message))
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {})
  process.on("disconnect", () => process.exit(0))
  process.on("message", (message) => child.receive(message))
  child.post({ type: "hello", protocol: PROTOCOL })
}

class EngineChild {
  #engine: Engine | undefined
  #heartbeatMs = 0
  #heartbeat: ReturnType<typeof setInterval> | undefined
  #received = 0
  readonly #requests = new Map<number, { readonly id: string; readonly controller: AbortController }>()
  #outbox: Outbox | undefined

  constructor(
    readonly load: EngineLoader,
    readonly post: (message: FromChild) => void,
  ) {}

  receive(raw: unknown): void {
    for (const message of parseToChild(raw)) {
      if (message.type === "load") void this.#load(message)
      else if (message.type === "generate") void this.#generate(message.handle, message.request as GenerateRequest)
      else if (message.type === "cancel") this.#cancel(message.handle, message.index)
      else void this.#close()
    }
  }

  async #load({ path, options, heartbeatMs }: { path: string; options: LoadOptions; heartbeatMs: number }) {
    try {
      const onUpload = ({ done, total }: { done: number; total: number }) => this.post({ type: "upload", done, total })
      const { engine, ...facts } = await this.load(path, { ...options, onUpload })
      this.#heartbeatMs = heartbeatMs
      this.#outbox = new Outbox(this.post, () => ({ received: this.#received, stats: engine.stats() }))
      this.#engine = engine
      this.post({ type: "ready", limits: engine.limits, facts, stats: engine.stats() })
    } catch (error) {
      // The parent kills this process once it has read the error.
      this.post({ type: "failed", error: toWire(error) })
    }
  }

  async #generate(handle: number, request: GenerateRequest): Promise<void> {
    const engine = this.#engine
    const outbox = this.#outbox
    if (!engine || !outbox) throw new Error("a request arrived before the engine was loaded")
    this.#received++
    const controller = new AbortController()
    this.#requests.set(handle, { id: request.id, controller })
    this.#heartbeat ??= setInterval(() => outbox.flush(), this.#heartbeatMs)
    try {
      for await (const event of engine.generate(request, controller.signal)) outbox.add(handle, event)
    } catch (error) {
      // An EngineError with a cause: the step failed, and the native context with it, not only the request.
      if (error instanceof EngineError && error.cause !== undefined) outbox.fault(error)
      else outbox.fail(handle, error)
    } finally {
      this.#requests.delete(handle)
      if (this.#requests.size === 0) {
        clearInterval(this.#heartbeat)
        this.#heartbeat = undefined
      }
    }
  }

  #cancel(handle: number, index: number | undefined): void {
    const request = this.#requests.get(handle)
    if (index === undefined) request?.controller.abort()
    else if (request !== undefined) this.#engine?.endSequence(request.id, index)
  }

  async #close(): Promise<void> {
    await this.#engine?.close()
    process.exit(0)
  }
}
