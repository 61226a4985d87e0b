import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test"
import { existsSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { Glob } from "bun"
import { meta } from "../../src/gguf/metadata.ts"
import { encodeGguf } from "../../src/gguf/writer.ts"
import { tinyModel, writeTinyModel } from "../support/tiny-model.ts"
import { TINY_TOKENS } from "../support/tiny-tokenizer.ts"
import { until } from "../support/until.ts"
import { FakeHub } from "../unit/store/fake-hub.ts"
import { cliJson, killLeftovers, runCli, startCli, temporaryFolder } from "./cli-runner.ts"

const folder = temporaryFolder("files")
const model = join(folder.path, "tiny.gguf")

beforeAll(async () => {
  await writeTinyModel(model, { format: (name) => (name === "output.weight" ? "F16" : "Q8_0"), context_length: 512 })
})
afterEach(killLeftovers)
afterAll(folder.remove)

interface Inspected {
  architecture: string
  parameters: number
  formats: { format: string; tensors: number; bytes: number; share: number }[]
  runnable: boolean
  problem?: string
  config: { n_layers: number; context_length: number }
  memory: { context_length: number; weights: number; kv: number; arena: number; total: number }
  metadata: Record<string, unknown>
  tensors: { name: string; format: string; shape: number[]; bytes: number }[]
  plan: string[]
}

describe("inspect", () => {
  test("reports parameters, formats and memory", async () => {
    const found = await cliJson<Inspected>(["inspect", model, "--tensors", "--plan"])
    expect(found.architecture).toBe("llama")
    expect(found.runnable).toBe(true)
    expect(found.config.n_layers).toBe(2)
    expect(found.parameters).toBe(found.tensors.reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0))
    expect(found.formats.map(({ format }) => format).sort()).toEqual(["F16", "F32", "Q8_0"])
    expect(found.formats.reduce((sum, { share }) => sum + share, 0)).toBeCloseTo(1, 10)
    expect(found.formats.find(({ format }) => format === "F16")).toMatchObject({ tensors: 1, bytes: 320 * 64 * 2 })
    // 2 layers × K and V × 2 heads of 16 × 2 bytes
    expect(found.memory).toMatchObject({ context_length: 512, kv: 512 * 2 * 2 * 32 * 2 })
    expect(found.memory.total).toBe(found.memory.weights + found.memory.kv + found.memory.arena)
    expect(found.plan.join("\n")).toContain("ATTENTION")
    expect(found.metadata["general.name"]).toBe("tiny llama")
    expect(found.metadata["llama.attention.layer_norm_rms_epsilon"]).toBe(0.00001)
    expect(found.metadata["tokenizer.ggml.tokens"]).toEqual({ type: "array of string", length: 320 })
  })

  test("--ctx-size and --kv-type change the K/V cache's share", async () => {
    const short = await cliJson<Inspected>(["inspect", model, "--ctx-size", "128"])
    const wide = await cliJson<Inspected>(["inspect", model, "--ctx-size", "128", "--kv-type", "f32"])
    expect(short.memory.kv).toBe(128 * 2 * 2 * 32 * 2)
    expect(wide.memory.kv).toBe(2 * short.memory.kv)
  })

  test("prints a readable summary by default", async () => {
    const { code, stdout } = await runCli(["inspect", "--gguf", model])
    expect(code).toBe(0)
    for (const text of [
      "architecture  llama",
      "layers        2 of 64",
      "memory at a context of 512 tokens",
      "general.name",
    ]) {
      expect(stdout).toContain(text)
    }
    expect(stdout).not.toContain("blk.0.attn_q.weight")
    const more = await runCli(["inspect", model, "--tensors", "--plan"])
    expect(more.stdout).toContain("blk.0.attn_q.weight  ")
    expect(more.stdout).toContain("MATMUL_SWIGLU")
  })

  test("a file of an unknown architecture is shown without a plan", async () => {
    const path = join(folder.path, "alien.gguf")
    const metadata = { "general.architecture": meta.string("alien"), "general.name": meta.string("x\u001b[31mred") }
    const data = new Float32Array(32)
    writeFileSync(path, encodeGguf({ metadata, tensors: [{ name: "t", shape: [32], format: "F32", data }] }))
    const found = await cliJson<Inspected>(["inspect", path])
    expect(found.runnable).toBe(false)
    expect(found.problem).toContain('unknown architecture "alien"')
    const { stdout } = await runCli(["inspect", path])
    expect(stdout).toContain("cannot be run")
    expect(stdout).not.toContain("\u001b") // escape sequences in a file do not reach the terminal
    const { code, stderr } = await runCli(["inspect", path, "--plan"])
    expect(stderr).toContain("llama")
    expect(code).toBe(3)
  })
})

type Token = { id: number; piece: string }

describe("tokenize and detokenize", () => {
  const text = "the thing: naïve 😀\n\ttab"

  test("detokenize inverts tokenize", async () => {
    const tokens = await cliJson<Token[]>(["tokenize", model, text])
    expect(tokens.length).toBeGreaterThan(5)
    const ids = tokens.map(({ id }) => String(id))
    expect(await runCli(["detokenize", model, ...ids])).toEqual({ code: 0, stdout: `${text}\n`, stderr: "" })
    expect(await runCli(["detokenize", "--model", model, ids.join(",")])).toMatchObject({
      code: 0,
      stdout: `${text}\n`,
    })
    expect(await runCli(["detokenize", model], { stdin: JSON.stringify(tokens.map(({ id }) => id)) })).toMatchObject({
      stdout: `${text}\n`,
    })
  })

  test("the text may come from a file or standard input, without its last newline", async () => {
    const path = join(folder.path, "text.txt")
    writeFileSync(path, `${text}\n`)
    const expected = await cliJson<Token[]>(["tokenize", model, text])
    expect(await cliJson<Token[]>(["tokenize", model, "--file", path])).toEqual(expected)
    expect(await cliJson<Token[]>(["tokenize", model], { stdin: `${text}\n` })).toEqual(expected)
    expect(await cliJson<Token[]>(["tokenize", model, "-"], { stdin: text })).toEqual(expected)
    expect(await cliJson<Token[]>(["tokenize", "--gguf", model, text])).toEqual(expected)
    expect(
      await cliJson<Token[]>(["tokenize", text], { env: { ROCMFORGE_MODEL: model } }).catch((e: Error) => e.message),
    ).toContain(
      "exited with 3", // the first argument is the model even when the environment names one
    )
  })

  test("--special parses control tokens, --bos prepends BOS", async () => {
    const plain = await cliJson<Token[]>(["tokenize", model, "<|im_end|>"])
    expect(plain.length).toBeGreaterThan(1)
    const special = await cliJson<Token[]>(["tokenize", model, "<|im_end|>", "--special", "--bos"])
    expect(special).toEqual([
      { id: TINY_TOKENS.END_OF_TEXT, piece: "<|endoftext|>" },
      { id: TINY_TOKENS.IM_END, piece: "<|im_end|>" },
    ])
    expect((await runCli(["detokenize", model, "2"])).stdout).toBe("\n")
    expect((await runCli(["detokenize", model, "2", "--special"])).stdout).toBe("<|im_end|>\n")
  })

  test("prints one line per token by default, and nothing for empty input", async () => {
    const { stdout } = await runCli(["tokenize", model, "the\n"])
    expect(stdout.trimEnd().split("\n").length).toBe((await cliJson<Token[]>(["tokenize", model, "the\n"])).length)
    expect(await runCli(["tokenize", model, ""])).toEqual({ code: 0, stdout: "", stderr: "" })
  })

  test.each([["320"], ["-1"], ["x"], ["1.5"]])("the id %s is refused", async (id) => {
    const { code, stderr } = await runCli(["detokenize", model, "--", id])
    expect(stderr).toContain("a whole number from 0 to 319")
    expect(code).toBe(2)
  })

  test("input that is not UTF-8 is refused", async () => {
    const { code, stderr } = await runCli(["tokenize", model], { stdin: new Uint8Array([0x61, 0xff, 0xfe]) })
    expect(stderr).toContain("standard input is not UTF-8")
    expect(code).toBe(2)
  })
})

describe("downloading a model", () => {
  const bytes = tinyModel()
  const NAME = "hf:maker/tiny/tiny.gguf"

  test("from the hub on first use; after Ctrl-C, the next run resumes the partial download", async () => {
    await using hub = new FakeHub()
    hub.add("maker/tiny", "tiny.gguf", bytes)
    hub.chunk = 20_000
    hub.holdAfter = 20_000
    const env = { ROCMFORGE_HOME: join(folder.path, "store"), HF_ENDPOINT: hub.url }
    const child = startCli(["inspect", NAME, "--json"], { env })
    const parts = new Glob("**/*.part")
    const kept = () =>
      existsSync(env.ROCMFORGE_HOME) ? [...parts.scanSync({ cwd: env.ROCMFORGE_HOME, absolute: true })] : []
    await until(() => kept().some((part) => statSync(part).size === 20_000))
    child.kill("SIGINT")
    expect(await child.exited).toBe(130)
    expect(await new Response(child.stderr).text()).toContain("what was downloaded is kept")
    hub.release()

    const { code, stdout, stderr } = await runCli(["inspect", NAME, "--json"], { env })
    expect(code).toBe(0)
    expect(JSON.parse(stdout).architecture).toBe("llama")
    expect(stderr).toMatch(/fetching tiny\.gguf \([\d.]+ kB\), resuming at [\d.]+ kB\n/)
    expect(hub.cdnLog[1]?.range).toBe("bytes=20000-")
  })
})
