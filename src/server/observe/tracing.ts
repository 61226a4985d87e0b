/**
 * OpenTelemetry traces over OTLP/HTTP: one span per request, with an event at the first token. Names and attributes follow
 * OpenTelemetry's semantic conventions for HTTP servers and generative AI. Its packages are loaded only when tracing is on.
 */

import type { RequestRecord, RequestSpan } from "./record.ts"

export interface Tracing {
  start(record: RequestRecord, headers: Headers): RequestSpan
  /** Exports the remaining spans. Resolves also when the endpoint does not respond. */
  close(): Promise<void>
}

type Environment = Readonly<Record<string, string | undefined>>

/** Whether OpenTelemetry's standard environment variables turn tracing on. */
export const tracingWanted = (env: Environment): boolean =>
  Boolean(env.OTEL_EXPORTER_OTLP_ENDPOINT || env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) &&
  env.OTEL_SDK_DISABLED?.toLowerCase() !== "true" &&
  env.OTEL_TRACES_EXPORTER !== "none"

/** Shortest time between two reports of export problems, in milliseconds. */
const REPORT_EVERY_MS = 60_000
/** Longest time to wait for the last export when the server ends, in milliseconds. */
const LAST_EXPORT_MS = 2000

/**
 * Traces to the endpoint of the `OTEL_EXPORTER_OTLP_…` variables. The exporter itself reads these from the process environment,
 * including headers and timeouts.
 * @param onProblem Called with the reason when traces cannot be sent, at most once a minute.
 */
export async function openTracing(
  env: Environment = process.env,
  onProblem: (problem: string) => void = () => {},
): Promise<Tracing> {
  const [api, sdk, { OTLPTraceExporter }, { resourceFromAttributes }, { W3CTraceContextPropagator }, { version }] =
    await Promise.all([
      import("@opentelemetry/api"),
      import("@opentelemetry/sdk-trace"),
      import("@opentelemetry/exporter-trace-otlp-http"),
      import("@opentelemetry/resources"),
      import("@opentelemetry/core"),
      import("../../../package.json"),
    ])
  const report = atMostEvery(REPORT_EVERY_MS, onProblem)
  const ignore = () => {}
  api.diag.setLogger({ error: report, warn: report, info: ignore, debug: ignore, verbose: ignore })
  const provider = new sdk.TracerProvider({
    resource: resourceFromAttributes({
      "service.name": env.OTEL_SERVICE_NAME || "rocmforge",
      "service.version": version,
    }),
    sampler: new sdk.ParentBasedSampler({ root: new sdk.AlwaysOnSampler() }),
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter: new OTLPTraceExporter(), scheduledDelayMillis: 1000 })],
  })
  const tracer = provider.getTracer("rocmforge", version)
  const propagator = new W3CTraceContextPropagator()
  const getter = {
    keys: (headers: Headers) => [...headers.keys()],
    get: (headers: Headers, name: string) => headers.get(name) ?? undefined,
  }

  return {
    start: (record, headers) => {
      const parent = propagator.extract(api.ROOT_CONTEXT, headers, getter)
      const span = tracer.startSpan(
        `${record.method} ${record.path}`,
        {
          kind: api.SpanKind.SERVER,
          attributes: {
            "http.request.method": record.method,
            "url.path": record.path,
            "http.request.header.x-request-id": record.id,
          },
        },
        parent,
      )
      return {
        firstToken: () =>
          span.addEvent("gen_ai.first_token", { "gen_ai.server.time_to_first_token": record.elapsedMs / 1000 }),
        end: () => {
          const { status, model, promptTokens, completionTokens } = record
          span.setAttribute("http.response.status_code", status)
          if (model !== undefined) {
            span.setAttribute("gen_ai.request.model", model)
            span.setAttribute("gen_ai.usage.input_tokens", promptTokens)
            span.setAttribute("gen_ai.usage.output_tokens", completionTokens)
          }
          if (status >= 500) span.setStatus({ code: api.SpanStatusCode.ERROR })
          span.end()
        },
      }
    },
    close: async () => {
      await Promise.race([provider.shutdown().catch(() => {}), Bun.sleep(LAST_EXPORT_MS)])
    },
  }
}

/** Passes on the first problem, and later ones at most once per `ms` milliseconds. */
function atMostEvery(ms: number, onProblem: (problem: string) => void): (problem: string) => void {
  let quietUntil = Number.NEGATIVE_INFINITY
  return (problem) => {
    const now = performance.now()
    if (now < quietUntil) return
    quietUntil = now + ms
    onProblem(messageOf(problem))
  }
}

/** The message of a problem, which OpenTelemetry reports as an error in JSON. */
function messageOf(problem: string): string {
  return /^\{"message":("(?:[^"\\]|\\.)*")/.exec(problem)?.[1] ?? problem
}
