/**
 * Prometheus metrics. Metrics named `vllm:…` have the meaning of vLLM's (docs.vllm.ai, "Production Metrics"), so that dashboards and
 * inference routers made for vLLM also work with this server; those named `llamacpp:…` are llama-server's (llama-metrics.ts). Metrics named `rocmforge_…` are this server's own.
 */

import { Counter, Gauge, Histogram, Registry } from "prom-client"
import { version } from "../../../package.json"
import { type EngineStats, NO_STATS } from "../../engine/types.ts"
import { ModelHistogram, type Observe } from "./histogram.ts"
import { LlamaMetrics } from "./llama-metrics.ts"

const TTFT = [
  0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560,
]
const PER_TOKEN = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1, 2.5, 5, 7.5, 10, 20, 40, 80,
]
const PER_REQUEST = [
  0.05, 0.1, 0.3, 0.5, 0.8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680,
]
const TOKENS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000, 200_000]
const PER_REQUEST_HTTP = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300]

/** Metrics that vLLM has renamed, each with its former name. Both names are exported, for old and new dashboards. */
const RENAMED = [
  ["vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"],
  ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
  ["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"],
  ["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"],
] as const

export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

/** Times and token counts of a choice that has ended. */
interface EndedChoice {
  readonly seconds: number
  readonly promptTokens: number
  readonly completionTokens: number
  readonly prefillSeconds: number
  readonly decodeSeconds: number
}

/** The metrics of one model that its generations update. */
export interface ModelMetrics {
  readonly interToken: Observe
  readonly firstToken: Observe
  ended(reason: "stop" | "length" | "abort", choice: EndedChoice): void
  failed(): void
}

/** What is read of a model at each scrape. */
interface ModelReading {
  readonly id: string
  /** The model can serve the next request, from memory or after a load. */
  readonly usable: boolean
  /** `undefined` while the model is not in memory. */
  readonly loaded:
    | { readonly memory: { readonly weights: number; readonly cache: number }; readonly stats: EngineStats }
    | undefined
}

export class Metrics {
  readonly #registry = new Registry()
  readonly #ofModel = new Map<string, ModelMetrics>()
  readonly #startedAt = performance.now()
  readonly #histograms
  readonly #success
  readonly #failures
  readonly #ignored
  readonly #http
  readonly #httpSeconds
  readonly #llama: LlamaMetrics

  /** @param readModels Called at each scrape; returns the state of every model that the server offers. */
  constructor(readModels: () => readonly ModelReading[]) {
    const registers = [this.#registry]
    const histogram = (name: string, help: string, buckets: number[]) =>
      new ModelHistogram(name, help, buckets, this.#registry)
    this.#histograms = {
      firstToken: histogram("vllm:time_to_first_token_seconds", "Time to first token, in seconds.", TTFT),
      interToken: histogram(
        "vllm:inter_token_latency_seconds",
        "Time between two consecutive tokens of a choice, in seconds.",
        PER_TOKEN,
      ),
      perToken: histogram(
        "vllm:request_time_per_output_token_seconds",
        "Mean time per token of a choice, without its first token, in seconds.",
        PER_TOKEN,
      ),
      request: histogram(
        "vllm:e2e_request_latency_seconds",
        "Time from submission to the last token, in seconds.",
        PER_REQUEST,
      ),
      prefill: histogram(
        "vllm:request_prefill_time_seconds",
        "Time from submission to the first token, in seconds.",
        PER_REQUEST,
      ),
      decode: histogram(
        "vllm:request_decode_time_seconds",
        "Time from the first token to the last, in seconds.",
        PER_REQUEST,
      ),
      promptTokens: histogram("vllm:request_prompt_tokens", "Prompt tokens of a request.", TOKENS),
      generatedTokens: histogram("vllm:request_generation_tokens", "Tokens generated for a request.", TOKENS),
    }
    this.#success = new Counter({
      name: "vllm:request_success_total",
      help: "Choices that ended, by reason: stop, length, or abort (the client disconnected).",
      labelNames: ["model_name", "finished_reason"],
      registers,
    })
    this.#failures = new Counter({
      name: "rocmforge_request_failures_total",
      help: "Choices that the engine refused or that ended with an error.",
      labelNames: ["model_name"],
      registers,
    })
    this.#ignored = new Counter({
      name: "rocmforge_ignored_fields_total",
      help: "Parts of requests that were accepted and have no effect, by field; all fields that the server does not know count as unknown.",
      labelNames: ["field"],
      registers,
    })
    this.#http = new Counter({
      name: "rocmforge_http_requests_total",
      help: "HTTP responses, by method, route and status.",
      labelNames: ["method", "route", "status"],
      registers,
    })
    this.#httpSeconds = new Histogram({
      name: "rocmforge_http_request_seconds",
      help: "Time from the arrival of a request to the last byte of its response, in seconds.",
      buckets: PER_REQUEST_HTTP,
      labelNames: ["route"],
      registers,
    })
    addEngineMetrics(this.#registry, readModels)
    this.#llama = new LlamaMetrics(this.#registry, () => readModels().map(({ loaded }) => loaded?.stats))
    new Gauge({
      name: "rocmforge_info",
      help: "The server's version.",
      labelNames: ["version"],
      registers,
    }).set({ version }, 1)
    const startedAt = this.#startedAt
    new Gauge({
      name: "rocmforge_uptime_seconds",
      help: "Time since the server started, in seconds.",
      registers,
      collect() {
        this.set((performance.now() - startedAt) / 1000)
      },
    })
    new Gauge({
      name: "process_resident_memory_bytes",
      help: "Resident memory of the HTTP server process, in bytes.",
      registers,
      collect() {
        this.set(process.memoryUsage.rss())
      },
    })
  }

  /** The metrics of a model, by the name that requests use. */
  of(modelName: string): ModelMetrics {
    const known = this.#ofModel.get(modelName)
    if (known !== undefined) return known
    const firstToken = this.#histograms.firstToken.of(modelName)
    const interToken = this.#histograms.interToken.of(modelName)
    const perToken = this.#histograms.perToken.of(modelName)
    const request = this.#histograms.request.of(modelName)
    const prefill = this.#histograms.prefill.of(modelName)
    const decode = this.#histograms.decode.of(modelName)
    const promptTokens = this.#histograms.promptTokens.of(modelName)
    const generatedTokens = this.#histograms.generatedTokens.of(modelName)
    const metrics: ModelMetrics = {
      firstToken,
      interToken,
      ended: (finishedReason, choice) => {
        this.#success.inc({ model_name: modelName, finished_reason: finishedReason })
        this.#llama.ended(choice)
        request(choice.seconds)
        prefill(choice.prefillSeconds)
        decode(choice.decodeSeconds)
        promptTokens(choice.promptTokens)
        generatedTokens(choice.completionTokens)
        const after = choice.completionTokens - 1
        if (after > 0) perToken(choice.decodeSeconds / after)
      },
      failed: () => this.#failures.inc({ model_name: modelName }),
    }
    this.#ofModel.set(modelName, metrics)
    return metrics
  }

  /** Counts an HTTP request. @param route A route's pattern, not a path: each value becomes a series of its own. */
  request(method: string, route: string, status: number, seconds: number): void {
    this.#http.inc({ method, route, status })
    this.#httpSeconds.observe({ route }, seconds)
  }

  /** Counts a part of a request that has no effect. @param field Not a name that a client chose: each becomes a series of its own. */
  ignored(field: string): void {
    this.#ignored.inc({ field })
  }

  /** All metrics, in Prometheus' text format. */
  async render(): Promise<string> {
    const text = await this.#registry.metrics()
    const copies = await Promise.all(
      RENAMED.map(async ([name, old]) => (await this.#registry.getSingleMetricAsString(name)).replaceAll(name, old)),
    )
    return `${text}\n${copies.join("\n")}\n`
  }
}

/** Adds the metrics that are read from the engines at each scrape. A model that is not in memory reports zeros. */
function addEngineMetrics(registry: Registry, readModels: () => readonly ModelReading[]): void {
  type Read = (model: ModelReading) => number
  const registers = [registry]
  const labelNames = ["model_name"]
  const gauge = (name: string, help: string, read: Read) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        for (const model of readModels()) this.set({ model_name: model.id }, read(model))
      },
    })
  const counter = (name: string, help: string, read: Read) =>
    new Counter({
      name,
      help,
      labelNames,
      registers,
      collect() {
        this.reset()
        for (const model of readModels()) this.inc({ model_name: model.id }, read(model))
      },
    })
  const stats = ({ loaded }: ModelReading) => loaded?.stats ?? NO_STATS

  gauge("vllm:num_requests_running", "Choices that hold K/V blocks.", (s) => stats(s).running)
  gauge("vllm:num_requests_waiting", "Choices that wait for K/V blocks.", (s) => stats(s).waiting)
  gauge("vllm:kv_cache_usage_perc", "Fraction of the K/V cache that sequences use; 1 means full.", (s) => {
    const { blocksTotal, blocksFree } = stats(s)
    return blocksTotal === 0 ? 0 : (blocksTotal - blocksFree) / blocksTotal
  })
  counter(
    "vllm:num_preemptions_total",
    "Sequences preempted: their blocks went to another sequence.",
    (s) => stats(s).nPreemptions,
  )
  counter("vllm:prompt_tokens_total", "Prompt tokens of all requests that have started.", (s) => stats(s).promptTokens)
  counter("vllm:generation_tokens_total", "Generated tokens.", (s) => stats(s).generatedTokens)
  counter(
    "vllm:prefix_cache_queries_total",
    "Prompt tokens looked up in the prefix cache.",
    (s) => stats(s).prefixQueryTokens,
  )
  counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", (s) => stats(s).prefixHitTokens)
  counter(
    "vllm:spec_decode_num_draft_tokens_total",
    "Draft tokens proposed by speculative decoding.",
    (s) => stats(s).draftedTokens,
  )
  counter(
    "vllm:spec_decode_num_accepted_tokens_total",
    "Draft tokens accepted by the model.",
    (s) => stats(s).acceptedTokens,
  )
  counter("rocmforge_engine_steps_total", "Engine steps since the model was loaded.", (s) => stats(s).steps)
  gauge("rocmforge_kv_blocks", "Number of K/V cache blocks.", (s) => stats(s).blocksTotal)
  gauge("rocmforge_kv_blocks_free", "K/V cache blocks that no sequence uses.", (s) => stats(s).blocksFree)
  gauge(
    "rocmforge_kv_blocks_cached",
    "Free K/V cache blocks that hold a reusable prefix.",
    (s) => stats(s).blocksCached,
  )
  gauge(
    "rocmforge_model_weight_bytes",
    "Device memory of the model's weights, in bytes.",
    (s) => s.loaded?.memory.weights ?? 0,
  )
  gauge("rocmforge_model_cache_bytes", "Device memory of the K/V cache, in bytes.", (s) => s.loaded?.memory.cache ?? 0)
  gauge(
    "rocmforge_model_usable",
    "1 if the model can serve the next request, from memory or after a load, else 0.",
    (s) => Number(s.usable),
  )
}
