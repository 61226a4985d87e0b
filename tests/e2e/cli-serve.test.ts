import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test"
import { join } from "node:path"
import { writeTinyModel } from "../support/tiny-model.ts"
import { cliJson, runCli, startCli, temporaryFolder } from "./cli-runner.ts"

// Processes start slowly on a busy machine.
setDefaultTimeout(60_000)

const folder = temporaryFolder("serve")
const first = join(folder.path, "first.gguf")
const second = join(folder.path, "second.gguf")

beforeAll(async () => {
  await writeTinyModel(first, { context_length: 4096 })
  await writeTinyModel(second, { arch: "qwen2", seed: 2 })
})
afterAll(folder.remove)

/** Starts `serve` on a free port and waits for the line that says where. */
async function startServe(args: string[], env: Record<string, string> = {}) {
  const child = startCli(["serve", ...args], { env })
  const reader = child.stdout.getReader()
  const line = new TextDecoder().decode((await reader.read()).value)
  const url = /^listening on (http:\/\/\S+)\n$/.exec(line)?.[1]
  if (!url) throw new Error(`serve said ${JSON.stringify(line)}; ${await new Response(child.stderr).text()}`)
  return { child, url }
}

describe("serve", () => {
  test("serves every model named, and stops on SIGTERM", async () => {
    const { child, url } = await startServe([first, "--model", second, "--port", "0"])
    const models = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] }
    expect(models.data.length).toBe(2)
    for (const { id } of models.data) {
      const body = JSON.stringify({ model: id, prompt: "the", max_tokens: 3, ignore_eos: true })
      const headers = { "Content-Type": "application/json" }
      const response = await fetch(`${url}/v1/completions`, { method: "POST", body, headers })
      expect(response.status).toBe(200)
      expect(((await response.json()) as { usage: { completion_tokens: number } }).usage.completion_tokens).toBe(3)
    }
    child.kill("SIGTERM")
    expect(await child.exited).toBe(0)
  })

  test("stops on Ctrl-C though a stream is running, and takes its settings from the environment", async () => {
    const { child, url } = await startServe([], {
      ROCMFORGE_MODEL: first,
      ROCMFORGE_PORT: "0",
      ROCMFORGE_DEVICE: "cpu",
    })
    const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] }
    const body = JSON.stringify({ model: data[0]?.id, prompt: "the", max_tokens: 4000, ignore_eos: true, stream: true })
    const response = await fetch(`${url}/v1/completions`, {
      method: "POST",
      body,
      headers: { "Content-Type": "application/json" },
    })
    const reader = response.body?.getReader()
    expect((await reader?.read())?.done).toBe(false)
    child.kill("SIGINT")
    expect(await child.exited).toBe(0)
    const stderr = await new Response(child.stderr).text()
    expect(stderr).toContain("stopping")
    expect(stderr).not.toContain("using the CPU")
  })

  test("a port in use, and a model that is not there", async () => {
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
  // Every matrix but the embedding table (one row of it a sequence), the norms, and the rotary frequencies, all F32.
  const layer = 64 * (64 + 32 + 32 + 64 + 3 * 96) + 2 * 64
  const weights = 4 * (2 * layer + 320 * 64 + 64 + 8)
  // 2 layers × K and V × 32 × 2 bytes.
  const kv = 2 * 2 * 32 * 2
  const small = ["bench", first, "-p", "32", "-n", "8", "-r", "3", "--threads", "1"]

  test("measures prefill, decode and the bytes that decode reads", async () => {
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

  test("measures several prompt lengths, and sequences that decode together after a context", async () => {
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

  test("prints for people, and refuses what the context cannot hold", async () => {
    const { code, stdout } = await runCli(small)
    expect(code).toBe(0)
    for (const text of ["prefill 32", "decode 8", "share of bandwidth", "tok/s"]) expect(stdout).toContain(text)
    const refused = await runCli(["bench", first, "-p", "9999"])
    expect(refused.stderr).toContain("--ctx-size")
    expect(refused.code).toBe(2)
  })
})

describe("devices", () => {
  test("lists the CPU with its instruction set, and why others are not usable", async () => {
    const devices = await cliJson<{ device: string; usable: boolean; arch?: string; reason?: string }[]>(["devices"])
    const cpu = devices.find(({ device }) => device === "cpu")
    expect(cpu?.usable).toBe(true)
    expect(cpu?.arch?.length).toBeGreaterThan(0)
    for (const { usable, reason } of devices) expect(usable || (reason?.length ?? 0) > 0).toBe(true)
    expect((await runCli(["devices"])).stdout).toMatch(/^cpu {2}/m)
  })
})
