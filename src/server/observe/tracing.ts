/**
 * OpenTelemetry traces over OTLP/HTTP: a span for every request, with an event at its first token, named and labelled as OpenTelemetry's
 * semantic conventions for HTTP servers and generative AI say. Its packages are loaded only where traces are wanted.
 */

import type { RequestRecord, RequestSpan } from "./record.ts"

export interface Tracing {
  start(record: RequestRecord, headers: Headers): RequestSpan
  /** Sends what is left. Safe when nobody listens at the endpoint. */
  close(): Promise<void>
}

type Environment = Readonly<Record<string, string | undefined>>

/** Whether the standard variables ask for traces. */
export const tracingWanted = (env: Environment): boolean =>
  Boolean(env.OTEL_EXPORTER_OTLP_ENDPOINT || env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) &&
  env.OTEL_SDK_DISABLED?.toLowerCase() !== "true" &&
  env.OTEL_TRACES_EXPORTER !== "none"

/** A receiver that is gone is spoken of this often, in milliseconds. */
const PROBLEM_EVERY_MS = 60_000
/** Waiting for an endpoint that is gone must not hold up the end of the server for longer, in milliseconds. */
const LAST_EXPORT_MS = 2000

/**
 * Traces to the endpoint that the `OTEL_EXPORTER_OTLP_…` variables name; the exporter reads them by itself, headers and timeouts too.
 * @param onProblem Hears, now and then, why traces could not be sent.
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
  const say = sparingly(onProblem)
  const ignore = () => {}
  api.diag.setLogger({ error: say, warn: say, info: ignore, debug: ignore, verbose: ignore })
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

/** Says the first problem, and one in a while of those that follow. */
function sparingly(say: (problem: string) => void): (problem: string) => void {
  let quietUntil = Number.NEGATIVE_INFINITY
  return (problem) => {
    const now = performance.now()
    if (now < quietUntil) return
    quietUntil = now + PROBLEM_EVERY_MS
    say(messageOf(problem))
  }
}

/** What went wrong, out of an error that OpenTelemetry has written as JSON. */
function messageOf(problem: string): string {
  return /^\{"message":("(?:[^"\\]|\\.)*")/.exec(problem)?.[1] ?? problem
}
