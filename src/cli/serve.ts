import type { ModelFinder } from "../server/http/context.ts"
import type { Logger } from "../server/observe/log.ts"
import type { Tracing } from "../server/observe/tracing.ts"
import type { ModelPool } from "../server/pool/pool.ts"
import { DEFAULT_MODEL } from "../store/catalog.ts"
import type { CommandSpec } from "./command.ts"
import { CommandError, EXIT, UsageError } from "./exit.ts"
import { onInterrupt } from "./interrupt.ts"
import { type OptionValues, readOptions } from "./options/commander.ts"
import { formNotes, note, printLine, writeNote } from "./output.ts"
import { ACCESS_OPTIONS, type Access, readAccess, warnIfOpen } from "./serve-access.ts"
import { createPool, MODEL_OPTIONS } from "./serve-models.ts"

const OBSERVE_OPTIONS = ["logFormat", "logLevel"] as const
const SERVER_OPTIONS = [
  "host",
  "port",
  "deadline",
  "cacheByKey",
  "strict",
  "disable",
  "llamaDefaults",
  "slotSavePath",
  "allowPull",
  "responsesDb",
  "preload",
  "drainTimeout",
  "maxBody",
] as const

export const serve: CommandSpec = {
  name: "serve",
  usage: "[MODEL…]",
  summary: "Serve models over HTTP with OpenAI-compatible APIs",
  description:
    `Without MODEL, ${DEFAULT_MODEL} is served. The first model is loaded at the start, the others when a request needs them. ` +
    "Ctrl-C or SIGTERM stops the server after its running requests have ended; a second Ctrl-C stops it at once.",
  examples: [
    "rocmforge serve smollm2-135m --port 8080",
    "rocmforge serve smollm2-135m --host 0.0.0.0 --api-key-file keys.txt --tls-cert cert.pem --tls-key key.pem",
    "rocmforge serve model-a.gguf model-b.gguf --memory-budget 20G --keep-alive 10m",
    "curl http://127.0.0.1:8080/v1/models",
  ],
  options: ["models", "gguf", ...SERVER_OPTIONS, ...ACCESS_OPTIONS, ...OBSERVE_OPTIONS, ...MODEL_OPTIONS],
  run: async (command, positional) => {
    const { models, gguf } = readOptions(command, ["models", "gguf"])
    const named = [...positional, ...models, ...(gguf === undefined ? [] : [gguf])]
    const names = named.length > 0 ? named : [process.env.ROCMFORGE_MODEL || DEFAULT_MODEL]
    const repeated = names.find((name, i) => names.indexOf(name) !== i)
    if (repeated !== undefined) throw new UsageError(`${repeated} is named twice; name each model once`)
    const log = await openLog(readOptions(command, OBSERVE_OPTIONS))
    const access = await readAccess(readOptions(command, ACCESS_OPTIONS))
    const tracing = await openTraces(process.env, log)
    await using _ = { [Symbol.asyncDispose]: async () => await tracing?.close() }
    const { pool, findModel } = await createPool(command, names)
    await using _pool = pool
    return await listen(pool, { ...readOptions(command, SERVER_OPTIONS), access, log, tracing, findModel })
  },
}

// Only this command loads the log, the traces and the HTTP server, so each is imported where it is used.

/** Opens the server's log on standard error. With `--log-format json` all later lines on standard error are JSON. */
async function openLog({ logFormat, logLevel }: OptionValues<(typeof OBSERVE_OPTIONS)[number]>): Promise<Logger> {
  const { createLog } = await import("../server/observe/log.ts")
  if (logFormat === "json") formNotes((msg) => JSON.stringify({ level: "info", time: new Date().toISOString(), msg }))
  return createLog({ format: logFormat, level: logLevel, write: writeNote })
}

/** Opens traces where OpenTelemetry's variables ask for them. */
async function openTraces(env: NodeJS.ProcessEnv, log: Logger): Promise<Tracing | undefined> {
  const { openTracing, tracingWanted } = await import("../server/observe/tracing.ts")
  if (!tracingWanted(env)) return undefined
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL || env.OTEL_EXPORTER_OTLP_PROTOCOL
  if (protocol === "grpc")
    note(
      "warning: traces are sent over HTTP, not gRPC; set OTEL_EXPORTER_OTLP_ENDPOINT to the collector's HTTP port (4318)",
    )
  return await openTracing(env, (problem) => log.warn({ problem }, "traces could not be sent"))
}

interface ListenOptions extends OptionValues<(typeof SERVER_OPTIONS)[number]> {
  access: Access
  log: Logger
  tracing: Tracing | undefined
  findModel: ModelFinder
}

/** Serves until a signal comes or the first model fails to load. The server listens before that model is loaded. */
async function listen(
  pool: ModelPool,
  {
    host,
    port,
    deadline,
    cacheByKey,
    strict,
    disable,
    llamaDefaults,
    slotSavePath,
    allowPull,
    findModel,
    responsesDb,
    preload,
    drainTimeout,
    maxBody,
    access,
    log,
    tracing,
  }: ListenOptions,
): Promise<number> {
  const { startServer } = await import("../server/index.ts")
  const stopped = Promise.withResolvers<void>()
  using _ = onInterrupt(stopped.resolve, ["SIGINT", "SIGTERM"])
  const server = await startServer({
    models: pool,
    host,
    port,
    cacheByKey,
    strict,
    hidden: disable,
    ...(llamaDefaults !== undefined && { llamaDefaults }),
    ...(slotSavePath !== undefined && { slotFolder: slotSavePath }),
    ...access,
    log,
    ...(tracing !== undefined && { tracing }),
    ...(allowPull && { findModel }),
    ...(maxBody !== undefined && { maxBodyBytes: maxBody }),
    ...(responsesDb !== undefined && { responsesPath: responsesDb }),
    ...(deadline !== undefined && { deadlineMs: deadline * 1000 }),
  }).catch((error: unknown) => {
    throw new CommandError(error instanceof Error ? error.message : String(error))
  })
  try {
    // Loading starts before the first request can arrive, so that /health reports this model as loading, not as loaded on demand.
    const loaded = Promise.race([load(pool, preload), stopped.promise])
    warnIfOpen(access, host)
    await Promise.all([printLine(`listening on ${server.url}`), loaded])
    await stopped.promise
    const { requests } = server
    const waiting = `: ${requests} running request${requests > 1 ? "s have" : " has"} ${drainTimeout} s to end; press Ctrl-C again to stop at once`
    note(`stopping${requests > 0 ? waiting : ""}`)
    await server.drain(drainTimeout * 1000)
  } finally {
    await server.stop()
  }
  return EXIT.ok
}

/** Loads the first model, all models, or none where requests load none, and reports what is served. */
async function load(pool: ModelPool, all: boolean): Promise<void> {
  const { models, autoload } = pool
  for (const { name } of all ? models : models.slice(0, autoload ? 1 : 0)) await pool.load(name)
  const apart = models.filter(({ state }) => state === "unloaded").map(({ name }) => name)
  if (all && apart.length > 0)
    note(
      `the models do not fit in memory together: ${apart.join(", ")} ${apart.length > 1 ? "were" : "was"} unloaded again`,
    )
  const device = models.find(({ model }) => model)?.model?.device.name
  const where = device === undefined ? "" : ` on ${device}`
  note(`serving ${models.map(({ name }) => name).join(", ")}${where}; press Ctrl-C to stop`)
}
