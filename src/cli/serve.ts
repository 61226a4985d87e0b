import type { LoadedModel } from "../engine/load.ts"
import { DEFAULT_MODEL } from "../store/catalog.ts"
import type { CommandSpec } from "./command.ts"
import { CommandError, EXIT, UsageError } from "./exit.ts"
import { onInterrupt } from "./interrupt.ts"
import { ENGINE_OPTIONS, loadFor } from "./open-model.ts"
import { readOptions } from "./options.ts"
import { note, printLine } from "./output.ts"

export const serve: CommandSpec = {
  name: "serve",
  usage: "[MODEL…]",
  summary: "Serve models over HTTP, with OpenAI's API",
  description: `Without MODEL: ${DEFAULT_MODEL}. Ctrl-C (or SIGTERM) stops it; requests in flight are cancelled.`,
  examples: [
    "rocmforge serve smollm2-135m --port 8080",
    "rocmforge serve model-a.gguf model-b.gguf --host 0.0.0.0",
    "curl http://127.0.0.1:8080/v1/models",
  ],
  options: ["models", "gguf", "host", "port", "maxSeqs", ...ENGINE_OPTIONS],
  run: async (command, positional) => {
    const { models, gguf, host, port, maxSeqs } = readOptions(command, ["models", "gguf", "host", "port", "maxSeqs"])
    const named = [...positional, ...models, ...(gguf === undefined ? [] : [gguf])]
    const names = named.length > 0 ? named : [process.env.ROCMFORGE_MODEL || DEFAULT_MODEL]
    const repeated = names.find((name, i) => names.indexOf(name) !== i)
    if (repeated !== undefined) throw new UsageError(`${repeated} is named twice; name every model once`)

    const loaded: LoadedModel[] = []
    try {
      for (const name of names) loaded.push(await loadFor(command, name, { max_seqs: maxSeqs }))
      return await listen(loaded, host, port)
    } finally {
      for (const model of loaded) await model.close()
    }
  },
}

async function listen(models: readonly LoadedModel[], host: string, port: number): Promise<number> {
  // Imported here: only this command pays for loading the HTTP side.
  const { startServer } = await import("../server/index.ts")
  const stopped = Promise.withResolvers<void>()
  using _ = onInterrupt(stopped.resolve, ["SIGINT", "SIGTERM"])
  const server = await startServer({ models, host, port }).catch((error: unknown) => {
    throw new CommandError(error instanceof Error ? error.message : String(error))
  })
  try {
    await printLine(`listening on ${server.url}`)
    note(`serving ${models.map((model) => model.name).join(", ")} on ${models[0]?.device.name ?? ""}; Ctrl-C stops`)
    await stopped.promise
    note("stopping")
  } finally {
    await server.stop()
  }
  return EXIT.ok
}
