import OpenAI from "openai"
import { type LoadOptions, loadModel } from "../../../src/engine/load.ts"
import type { LoadedModel } from "../../../src/engine/types.ts"
import { type StartOptions, startServer } from "../../../src/server/index.ts"

export interface FileServer extends AsyncDisposable {
  url: string
  model: LoadedModel
  /** The official client, which does not retry. */
  client: OpenAI
}

/** Serves a model file on the CPU at a free port. */
export async function serveFile(
  path: string,
  options: LoadOptions = {},
  serverOptions: Partial<StartOptions> = {},
): Promise<FileServer> {
  const model = await loadModel(path, { device: "cpu", threads: 2, ...options })
  const server = await startServer({ models: [model], port: 0, ...serverOptions })
  return {
    url: server.url,
    model,
    client: new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 }),
    [Symbol.asyncDispose]: async () => {
      await server.stop()
      await model.close()
    },
  }
}
