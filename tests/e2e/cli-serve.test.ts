import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test"
import { join } from "node:path"
import { post } from "../support/http.ts"
import { writeTinyModel } from "../support/tiny-model.ts"
import { until } from "../support/until.ts"
import { cliJson, killLeftovers, listening, runCli, startCli, temporaryFolder } from "./cli-runner.ts"

const folder = temporaryFolder("serve")
const first = join(folder.path, "first.gguf")
const second = join(folder.path, "second.gguf")

beforeAll(async () => {
  await writeTinyModel(first, { context_length: 4096 })
  await writeTinyModel(second, { arch: "qwen2", seed: 2 })
})
afterEach(killLeftovers)
afterAll(folder.remove)

/** Starts `serve` and waits until it listens. */
async function startServe(args: string[], env: Record<string, string> = {}) {
  const child = startCli(["serve", ...args], { env })
  return { child, url: await listening(child) }
}

interface Listed {
  id: string
  state: string
}
const modelsOf = async (url: string) => ((await (await fetch(`${url}/v1/models`)).json()) as { data: Listed[] }).data
const statesOf = async (url: string) => (await modelsOf(url)).map(({ state }) => state)

const complete = (url: string, body: object) =>
  post(`${url}/v1/completions`, { prompt: "the", max_tokens: 3, ignore_eos: true, ...body })

/** Ids of a process's children. */
async function childrenOf(pid: number): Promise<number[]> {
  const text = await Bun.file(`/proc/${pid}/task/${pid}/children`).text()
  return text.split(" ").filter(Boolean).map(Number)
}
const isAlive = (pid: number) => Bun.file(`/proc/${pid}/cmdline`).exists()

describe("serve", () => {
  test("loads the first model at startup and others on demand, each in its own process", async () => {
    const { child, url } = await startServe([first, "--model", second, "--port", "0"])
    await until(async () => (await fetch(`${url}/health`)).ok)
    expect((await modelsOf(url)).map(({ id }) => id)).toEqual(["first", "second"])
    expect(await statesOf(url)).toEqual(["ready", "unloaded"])
    expect((await childrenOf(child.pid)).length).toBe(1)
    for (const model of ["first", "second"]) {
      const response = await complete(url, { model })
      expect(response.status).toBe(200)
      expect(((await response.json()) as { usage: { completion_tokens: number } }).usage.completion_tokens).toBe(3)
    }
    expect(await statesOf(url)).toEqual(["ready", "ready"])
    const engines = await childrenOf(child.pid)
    expect(engines.length).toBe(2)
    child.kill("SIGTERM")
    expect(await child.exited).toBe(0)
    for (const pid of engines) expect(await isAlive(pid)).toBe(false)
  })

  test("unloads an idle model after --keep-alive, and to make room in --memory-budget", async () => {
    const { child, url } = await startServe([first, second, "--port", "0", "--keep-alive", "0.3"])
    expect((await complete(url, { model: "first" })).status).toBe(200)
    await until(async () => (await statesOf(url)).every((state) => state === "unloaded"))
    expect(await childrenOf(child.pid)).toEqual([])
    expect((await fetch(`${url}/health`)).status).toBe(200)
    expect((await complete(url, { model: "first" })).status).toBe(200)
    child.kill("SIGTERM")
    expect(await child.exited).toBe(0)

    // The two files weigh about 0.5 MB each.
    const tight = await startServe([first, second, "--port", "0", "--memory-budget", "700K", "--in-process"])
    for (const [i, model] of ["first", "second", "first"].entries()) {
      expect((await complete(tight.url, { model })).status).toBe(200)
      expect(await statesOf(tight.url)).toEqual(i === 1 ? ["unloaded", "ready"] : ["ready", "unloaded"])
    }
    expect(await childrenOf(tight.child.pid)).toEqual([])
    tight.child.kill("SIGTERM")
    expect(await tight.child.exited).toBe(0)

    const never = await runCli(["serve", first, "--port", "0", "--memory-budget", "100K"])
    expect(never.code).toBe(2)
    expect(never.stderr).toContain("raise --memory-budget")
  })

  test("on SIGTERM completes streams, refuses new requests, and leaves no process", async () => {
    const { child, url } = await startServe([first, "--port", "0"])
    const response = await complete(url, { model: "first", max_tokens: 1000, stream: true, n: 2 })
    const engines = await childrenOf(child.pid)
    expect(engines.length).toBe(1)
    child.kill("SIGTERM")
    await until(async () => (await fetch(`${url}/health`)).status === 503)
    expect(await (await fetch(`${url}/health`)).json()).toMatchObject({ status: "draining" })
    const refused = await complete(url, { model: "first" })
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get("retry-after"))).toBeGreaterThanOrEqual(1)
    const text = await response.text()
    expect(text).toEndWith("data: [DONE]\n\n")
    expect(text.match(/"finish_reason":"length"/g)?.length).toBe(2)
    expect(await child.exited).toBe(0)
    expect(await isAlive(engines[0] ?? 0)).toBe(false)
    expect(await new Response(child.stderr).text()).toContain("stopping: 1 running request has 30 s to end")
  })

  test("ends streams with an error after --drain-timeout, also on Ctrl-C; reads settings from the environment", async () => {
    const env = { ROCMFORGE_MODEL: first, ROCMFORGE_PORT: "0", ROCMFORGE_DEVICE: "cpu" }
    const { child, url } = await startServe(["--drain-timeout", "0.1"], env)
    const response = await complete(url, { model: "first", max_tokens: 4000, stream: true, n: 8 })
    child.kill("SIGINT")
    const text = await response.text()
    expect(text).not.toContain("[DONE]")
    expect(JSON.parse(text.trimEnd().split("data: ").at(-1) ?? "")).toMatchObject({
      error: { type: "service_unavailable", code: "unavailable" },
    })
    expect(await child.exited).toBe(0)
    const stderr = await new Response(child.stderr).text()
    expect(stderr).toContain("stopping")
    expect(stderr).not.toContain("using the CPU")
  })

  test("a second signal kills the server and its engine at once", async () => {
    const { child, url } = await startServe([first, "--port", "0"])
    const response = await complete(url, { model: "first", max_tokens: 4000, stream: true, n: 8 })
    const [engine = 0] = await childrenOf(child.pid)
    child.kill("SIGTERM")
    await until(async () => (await fetch(`${url}/health`)).status === 503)
    child.kill("SIGTERM")
    await child.exited
    expect(child.signalCode).toBe("SIGTERM")
    await response.text().catch(() => "")
    await until(async () => !(await isAlive(engine)))
  })

  test("reports an invalid model or setting before it listens", async () => {
    const broken = join(folder.path, "broken.gguf")
    await Bun.write(broken, "this is no model")
    const cases: [args: string[], code: number, message: string][] = [
      [[broken], 3, "broken.gguf"],
      [[first, second, broken], 3, "broken.gguf"],
      [[first, first], 2, "named twice"],
      [[first, join(folder.path, "again/first.gguf")], 2, 'both be called "first"'],
      [[first, second, "--served-model-name", "x"], 2, "use --alias NAME=MODEL"],
      [[first, "--served-model-name", "x", "--served-model-name", "x"], 2, 'called "x" twice'],
      [[first, second, "--alias", "second=first"], 2, 'both be called "second"'],
      [[first, "--alias", "x=third"], 2, "the models are first"],
      [[first, "--alias", "x"], 2, "must be NAME=MODEL"],
      [[first, "--device", "abacus"], 4, "abacus"],
      [[first, "--keep-alive", "soon"], 2, "-1 for no limit"],
      [[first, "--memory-budget", "lots"], 2, "512M"],
      [[first, "--deadline", "0"], 2, "more than 0"],
      [[first, "--drain-timeout", "-1"], 2, "90s"],
      [[first, "--watchdog", "0.5"], 2, "at least 1"],
      [[first, "--watchdog", "5", "--in-process"], 2, "leave out --in-process"],
      // These faults are found when the model is loaded, after the server has started to listen.
      [[first, "--memory-budget", "700K", "--ctx-size", "4096"], 1, "4096 tokens takes 1.0 MiB of K/V cache"],
      [[first, "--max-queue", "0"], 2, "whole number from 1"],
      [[first, "--speculative", "guess"], 2, "off or ngram"],
      [[first, "--ctx-size", "100000000"], 2, "16777216"],
    ]
    await Bun.write(join(folder.path, "again/first.gguf"), Bun.file(first))
    for (const [args, code, message] of cases) {
      const result = await runCli(["serve", "--port", "0", ...args])
      expect(result.stderr).toContain(message)
      expect(result.stderr).not.toContain("    at ")
      expect([args, result.code]).toEqual([args, code])
    }
  })

  test("reports a port in use, and a missing model", async () => {
    const { child, url } = await startServe([first, "--port", "0"])
    const taken = await runCli(["serve", first, "--port", new URL(url).port])
    expect(taken.stderr).toContain(`127.0.0.1:${new URL(url).port}`)
    expect(taken.stderr).not.toContain("    at ")
    expect(taken.code).toBe(1)
    child.kill("SIGTERM")
    await child.exited
    expect((await runCli(["serve", "/nonexistent.gguf", "--port", "0"])).code).toBe(3)
  })
})

describe("bench", () => {
  interface Rates {
    tokens: number
    tokens_per_second: { median: number; min: number; max: number; runs: number[] }
  }
  interface Decode extends Rates {
    concurrency: number
    context: number
    bytes_per_step: { weights: number; kv: number }
    bytes_per_second: number
    bandwidth_share: number
  }
  interface Benched {
    threads: number
    bandwidth: number
    matrix_rate: number | null
    prefill: (Rates & { matrix_share: number | null })[]
    decode: Decode[]
  }
  // All F32: every matrix except the embedding table (one row per sequence), the norms, and the rotary frequencies.
  const layer = 64 * (64 + 32 + 32 + 64 + 3 * 96) + 2 * 64
  const weights = 4 * (2 * layer + 320 * 64 + 64 + 8)
  // 2 layers × K and V × 32 × 2 bytes.
  const kv = 2 * 2 * 32 * 2
  const small = ["bench", first, "-p", "32", "-n", "8", "-r", "3", "--threads", "1"]

  test("measures prefill and decode, and counts the bytes read by decode", async () => {
    const result = await cliJson<Benched>(small)
    expect(result.threads).toBe(1)
    expect(result.bandwidth).toBeGreaterThan(1e8)
    expect([result.prefill.length, result.decode.length]).toEqual([1, 1])
    if (result.matrix_rate === null) expect(result.prefill[0]?.matrix_share).toBeNull()
    else expect(result.prefill[0]?.matrix_share).toBeGreaterThan(0)
    for (const { tokens_per_second: rate } of [...result.prefill, ...result.decode]) {
      expect(rate.runs.length).toBe(3)
      expect(rate.min).toBeGreaterThan(0)
      expect(rate.median).toBeGreaterThanOrEqual(rate.min)
      expect(rate.max).toBeGreaterThanOrEqual(rate.median)
    }
    const [decode] = result.decode as [Decode]
    expect(decode).toMatchObject({ concurrency: 1, context: 1, tokens: 8 })
    expect(decode.bytes_per_step).toEqual({ weights: weights + 4 * 64, kv: kv * 5.5 })
    const bytes = decode.bytes_per_step.weights + decode.bytes_per_step.kv
    expect(decode.bytes_per_second).toBeCloseTo(bytes * decode.tokens_per_second.median, 0)
    expect(decode.bandwidth_share).toBeCloseTo(decode.bytes_per_second / result.bandwidth, 10)
  })

  test("measures several prompt lengths, and concurrent decoding after a given context", async () => {
    const several = ["-p", "8,40", "-n", "6", "--context", "20", "--concurrency", "1,4", "-r", "2", "--threads", "1"]
    const { prefill, decode } = await cliJson<Benched>(["bench", first, ...several])
    expect(prefill.map(({ tokens }) => tokens)).toEqual([8, 40])
    expect(decode.map(({ concurrency }) => concurrency)).toEqual([1, 4])
    for (const { concurrency, context, bytes_per_step, bytes_per_second, tokens_per_second } of decode) {
      expect(context).toBe(20)
      expect(bytes_per_step.weights).toBe(weights + concurrency * 4 * 64)
      expect(bytes_per_step.kv).toBe(concurrency * kv * 23.5)
      const steps = tokens_per_second.median / concurrency
      expect(bytes_per_second).toBeCloseTo(steps * (bytes_per_step.weights + bytes_per_step.kv), 0)
    }
    const refused = await runCli(["bench", first, "--concurrency", "0"])
    expect(refused.stderr).toContain("whole numbers from 1 to 1024")
    expect(refused.code).toBe(2)
  })

  test("prints a readable table, and refuses lengths beyond the context", async () => {
    const { code, stdout } = await runCli(small)
    expect(code).toBe(0)
    for (const text of ["prefill 32", "decode 8", "share of bandwidth", "tok/s"]) expect(stdout).toContain(text)
    const refused = await runCli(["bench", first, "-p", "9999"])
    expect(refused.stderr).toContain("--ctx-size")
    expect(refused.code).toBe(2)
  })
})

describe("devices", () => {
  test("lists the CPU with its instruction set, and the reasons why other devices are unusable", async () => {
    const devices = await cliJson<{ device: string; usable: boolean; arch?: string; reason?: string }[]>(["devices"])
    const cpu = devices.find(({ device }) => device === "cpu")
    expect(cpu?.usable).toBe(true)
    expect(cpu?.arch?.length).toBeGreaterThan(0)
    for (const { usable, reason } of devices) expect(usable || (reason?.length ?? 0) > 0).toBe(true)
    expect((await runCli(["devices"])).stdout).toMatch(/^cpu {2}/m)
  })
})
