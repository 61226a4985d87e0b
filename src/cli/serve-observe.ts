import { createLog, type Logger } from "../server/observe/log.ts"
import { openTracing, type Tracing, tracingWanted } from "../server/observe/tracing.ts"
import type { OptionValues } from "./options/commander.ts"
import { formNotes, note, writeNote } from "./output.ts"

/** The server's log, on standard error. Where it is JSON, so is everything else that is said there from now on. */
export function openLog({ logFormat, logLevel }: OptionValues<"logFormat" | "logLevel">): Logger {
  if (logFormat === "json") formNotes((msg) => JSON.stringify({ level: "info", time: new Date().toISOString(), msg }))
  return createLog({ format: logFormat, level: logLevel, write: writeNote })
}

/** Traces, where OpenTelemetry's variables ask for them; disposing of it sends what is left. */
export interface Traces extends AsyncDisposable {
  readonly tracing: Tracing | undefined
}

export async function openTraces(env: NodeJS.ProcessEnv, log: Logger): Promise<Traces> {
  const tracing = await tracingOf(env, log)
  return { tracing, [Symbol.asyncDispose]: async () => await tracing?.close() }
}

async function tracingOf(env: NodeJS.ProcessEnv, log: Logger): Promise<Tracing | undefined> {
  if (!tracingWanted(env)) return undefined
  const protocol = env.OTEL_EXPORTER_OTLP_TRACES_PROTOCOL || env.OTEL_EXPORTER_OTLP_PROTOCOL
  if (protocol === "grpc")
    note(
      "warning: traces go over HTTP, not gRPC; let OTEL_EXPORTER_OTLP_ENDPOINT name the collector's HTTP port (4318)",
    )
  return await openTracing(env, (problem) => log.warn({ problem }, "traces could not be sent"))
}
