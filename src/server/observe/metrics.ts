/**
 * Prometheus metrics. Those named `vllm:…` mean what vLLM's mean (docs.vllm.ai, "Production Metrics"), so that dashboards and
 * inference routers made for it read this server; `rocmforge_…` are this server's own.
 */

import { Counter, Gauge, Histogram, Registry } from "prom-client"
import { version } from "../../../package.json"
import { NO_STATS } from "../../engine/types.ts"
import type { ModelPool } from "../pool/pool.ts"
import { type ModelStatus, statusOf } from "../pool/status.ts"
import { ModelHistogram, type Observe } from "./histogram.ts"

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

/** The name before vLLM renamed it; dashboards of either age find the same numbers. */
const RENAMED = [
  ["vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"],
  ["vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"],
  ["vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"],
  ["vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"],
] as const

export const METRICS_TYPE = Registry.PROMETHEUS_CONTENT_TYPE

/** Seconds, and tokens, of a choice that has ended. */
export interface EndedChoice {
  readonly seconds: number
  readonly promptTokens: number
  readonly completionTokens: number
  readonly prefillSeconds: number
  readonly decodeSeconds: number
}

/** The series of one model that generations feed. */
export interface ModelMetrics {
  readonly interToken: Observe
  readonly firstToken: Observe
  ended(reason: "stop" | "length" | "abort", choice: EndedChoice): void
  failed(): void
}

export class Metrics {
  readonly #registry = new Registry()
  readonly #ofModel = new Map<string, ModelMetrics>()
  readonly #startedAt = performance.now()
  readonly #histograms
  readonly #success
  readonly #failures
  readonly #http
  readonly #httpSeconds

  constructor(readonly models: ModelPool) {
    const registers = [this.#registry]
    const histogram = (name: string, help: string, buckets: number[]) =>
      new ModelHistogram(name, help, buckets, this.#registry)
    this.#histograms = {
      firstToken: histogram("vllm:time_to_first_token_seconds", "Time to first token, in seconds.", TTFT),
      interToken: histogram("vllm:inter_token_latency_seconds", "Time between two tokens, in seconds.", PER_TOKEN),
      perToken: histogram(
        "vllm:request_time_per_output_token_seconds",
        "Mean time for a token after the first one of a request, in seconds.",
        PER_TOKEN,
      ),
      request: histogram("vllm:e2e_request_latency_seconds", "Time of a whole generation, in seconds.", PER_REQUEST),
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
      help: "Generations that ended, by their reason: stop, length, or abort (the client went away).",
      labelNames: ["model_name", "finished_reason"],
      registers,
    })
    this.#failures = new Counter({
      name: "rocmforge_request_failures_total",
      help: "Generations that the engine refused or that ended in an error.",
      labelNames: ["model_name"],
      registers,
    })
    this.#http = new Counter({
      name: "rocmforge_http_requests_total",
      help: "HTTP requests answered, by method, route and status.",
      labelNames: ["method", "route", "status"],
      registers,
    })
    this.#httpSeconds = new Histogram({
      name: "rocmforge_http_request_seconds",
      help: "Time from a request's arrival to the last byte made for it, in seconds.",
      buckets: PER_REQUEST_HTTP,
      labelNames: ["route"],
      registers,
    })
    addEngineMetrics(this.#registry, () => models.models.map(statusOf))
    new Gauge({
      name: "rocmforge_info",
      help: "The server's version.",
      labelNames: ["version"],
      registers,
    }).set({ version }, 1)
    const startedAt = this.#startedAt
    new Gauge({
      name: "rocmforge_uptime_seconds",
      help: "Time since the server started.",
      registers,
      collect() {
        this.set((performance.now() - startedAt) / 1000)
      },
    })
    new Gauge({
      name: "process_resident_memory_bytes",
      help: "Resident memory of the HTTP process.",
      registers,
      collect() {
        this.set(process.memoryUsage.rss())
      },
    })
  }

  /** The series of a model, by the name that requests call it. */
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

  /** @param route A route's pattern: there must be few of them. */
  request(method: string, route: string, status: number, seconds: number): void {
    this.#http.inc({ method, route, status })
    this.#httpSeconds.observe({ route }, seconds)
  }

  /** Everything, in the text format of Prometheus. */
  async render(): Promise<string> {
    const text = await this.#registry.metrics()
    const copies = await Promise.all(
      RENAMED.map(async ([name, old]) => (await this.#registry.getSingleMetricAsString(name)).replaceAll(name, old)),
    )
    return `${text}\n${copies.join("\n")}\n`
  }
}

/** What is read from the engines when somebody asks, rather than counted on the way. A model that is not in memory shows zeros. */
function addEngineMetrics(registry: Registry, statuses: () => ModelStatus[]): void {
  type Read = (status: ModelStatus) => number
  const registers = [registry]
  const labelNames = ["model_name"]
  const gauge = (name: string, help: string, read: Read) =>
    new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect() {
        for (const status of statuses()) this.set({ model_name: status.id }, read(status))
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
        for (const status of statuses()) this.inc({ model_name: status.id }, read(status))
      },
    })
  const stats = ({ loaded }: ModelStatus) => loaded?.stats ?? NO_STATS

  gauge("vllm:num_requests_running", "Choices that are being generated.", (s) => stats(s).running)
  gauge("vllm:num_requests_waiting", "Choices that wait for their turn.", (s) => stats(s).waiting)
  gauge("vllm:kv_cache_usage_perc", "Share of the K/V cache that sequences hold; 1 is all of it.", (s) => {
    const { blocksTotal, blocksFree } = stats(s)
    return blocksTotal === 0 ? 0 : (blocksTotal - blocksFree) / blocksTotal
  })
  counter(
    "vllm:num_preemptions_total",
    "How often a sequence lost its blocks to another.",
    (s) => stats(s).nPreemptions,
  )
  counter("vllm:prompt_tokens_total", "Prompt tokens of the requests begun.", (s) => stats(s).promptTokens)
  counter("vllm:generation_tokens_total", "Tokens generated.", (s) => stats(s).generatedTokens)
  counter(
    "vllm:prefix_cache_queries_total",
    "Prompt tokens looked for in the prefix cache.",
    (s) => stats(s).prefixQueryTokens,
  )
  counter("vllm:prefix_cache_hits_total", "Prompt tokens found in the prefix cache.", (s) => stats(s).prefixHitTokens)
  counter("vllm:spec_decode_num_draft_tokens_total", "Tokens that speculation guessed.", (s) => stats(s).draftedTokens)
  counter(
    "vllm:spec_decode_num_accepted_tokens_total",
    "Guessed tokens that the model would have said too.",
    (s) => stats(s).acceptedTokens,
  )
  counter("rocmforge_engine_steps_total", "Engine steps since the model was loaded.", (s) => stats(s).steps)
  gauge("rocmforge_kv_blocks", "Blocks of the K/V cache.", (s) => stats(s).blocksTotal)
  gauge("rocmforge_kv_blocks_free", "Blocks that no sequence holds.", (s) => stats(s).blocksFree)
  gauge(
    "rocmforge_kv_blocks_cached",
    "Free blocks that still hold a prefix to be found again.",
    (s) => stats(s).blocksCached,
  )
  gauge("rocmforge_model_weight_bytes", "Device memory of the model's weights.", (s) => s.loaded?.memory.weights ?? 0)
  gauge("rocmforge_model_cache_bytes", "Device memory of the K/V cache.", (s) => s.loaded?.memory.cache ?? 0)
  gauge("rocmforge_model_usable", "1: the model serves, or is loaded for the next request.", (s) => Number(s.usable))
}
