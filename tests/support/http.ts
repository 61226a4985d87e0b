/** The fixture of tests over HTTP: a model, a server for it on a free port, OpenAI's client, and their clean-up. */

import OpenAI from "openai"
import { type LoadOptions, loadModel } from "../../src/engine/load.ts"
import type { Engine, LoadedModel } from "../../src/engine/types.ts"
import { type RunningServer, type StartOptions, startServer } from "../../src/server/index.ts"
import { type TinyModelOptions, withTinyModel } from "./tiny-model.ts"

/** Disposing of it stops the server, then closes the model and removes its file if the fixture wrote it. */
export interface TestServer<Model extends LoadedModel = LoadedModel> extends AsyncDisposable {
  /** The server's URL, without a trailing slash. */
  readonly url: string
  readonly server: RunningServer
  readonly model: Model
  /** OpenAI's client, which does not retry. */
  readonly client: OpenAI
}

/** Serves a loaded model and takes ownership of it. */
export async function serveModel<Model extends LoadedModel>(
  model: Model,
  options: Partial<StartOptions> = {},
): Promise<TestServer<Model>> {
  const server = await startServer({ models: [model], port: 0, ...options })
  return {
    url: server.url,
    server,
    model,
    client: clientOf(server.url),
    [Symbol.asyncDispose]: async () => {
      await server.stop()
      await model.close()
    },
  }
}

/** Serves a model file on the CPU. */
export async function serveFile(
  path: string,
  options: LoadOptions = {},
  serverOptions: Partial<StartOptions> = {},
): Promise<TestServer> {
  return serveModel(await loadModel(path, { device: "cpu", threads: 2, ...options }), serverOptions)
}

export interface TinyServerOptions {
  /** The model's shape. */
  readonly model?: TinyModelOptions
  readonly load?: LoadOptions
  readonly server?: Partial<StartOptions>
}

/** Writes a tiny model and serves it on the CPU, under the name `tiny`. */
export async function serveTiny({ model, load, server }: TinyServerOptions = {}): Promise<TestServer> {
  const file = await withTinyModel(model)
  const served = await serveFile(file.path, load, server)
  return {
    ...served,
    [Symbol.asyncDispose]: async () => {
      await served[Symbol.asyncDispose]()
      await file[Symbol.asyncDispose]()
    },
  }
}

/** OpenAI's client for a server. By default it does not retry. */
export const clientOf = (url: string, apiKey = "none", maxRetries = 0): OpenAI =>
  new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries })

export interface PostOptions {
  readonly headers?: Record<string, string>
  readonly signal?: AbortSignal | undefined
  readonly tls?: Bun.TLSOptions
}

/** POSTs a body as JSON to a URL. A body that is a string or bytes is sent as it is. */
export const post = (
  url: string,
  body: object | string | Uint8Array<ArrayBuffer>,
  { headers, signal, tls }: PostOptions = {},
): Promise<Response> =>
  fetch(url, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: typeof body === "string" || body instanceof Uint8Array ? body : JSON.stringify(body),
    ...(signal && { signal }),
    ...(tls && { tls }),
  })

/** Whether no choice runs or waits and no sequence holds a cache block. */
export function idle(engine: Pick<Engine, "stats">): boolean {
  const { running, waiting, blocksFree, blocksTotal } = engine.stats()
  return running === 0 && waiting === 0 && blocksFree === blocksTotal
}

/**
 * The number of generations that have ended since the server started, by the reason in its metrics. `abort`: the client
 * disconnected; such a request counts once, for any number of choices.
 */
export async function endings(url: string): Promise<Record<"stop" | "length" | "abort", number>> {
  const text = await (await fetch(`${url}/metrics`)).text()
  const count = (reason: string) => {
    const series = new RegExp(`^vllm:request_success_total\\{.*finished_reason="${reason}".*\\} (\\d+)$`, "gm")
    return [...text.matchAll(series)].reduce((sum, [, value]) => sum + Number(value), 0)
  }
  return { stop: count("stop"), length: count("length"), abort: count("abort") }
}
