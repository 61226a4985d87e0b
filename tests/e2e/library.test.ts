import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { runCommand } from "../../scripts/build/command.ts"
import {
  EngineError,
  GgufError,
  type Llm,
  load,
  ModelNotFoundError,
  OverloadedError,
  RequestError,
  StopError,
} from "../../src/index.ts"
import { idle } from "../support/http.ts"
import { writeTinyModel } from "../support/tiny-model.ts"
import { until } from "../support/until.ts"
import { ROOT, temporaryFolder } from "./cli-runner.ts"

const folder = temporaryFolder("library")
const file = join(folder.path, "tiny.gguf")
const options = { device: "cpu", threads: 1, max_seqs: 4 }
/** Greedy decoding of a fixed length: the text of random weights rarely ends by itself. */
const fixed = { temperature: 0, maxTokens: 24, ignoreEos: true }
const messages = [{ role: "user", content: "Hello" }]

let llm: Llm
beforeAll(async () => {
  await writeTinyModel(file, { context_length: 2048 })
  llm = await load(file, options)
})
afterAll(async () => {
  await llm.close()
  folder.remove()
})

describe("load", () => {
  test("describes the loaded model", () => {
    expect(llm.name).toBe("tiny")
    expect(llm.contextLength).toBe(2048)
    expect(llm.device.backend).toBe("cpu")
  })

  test("fails with typed errors", async () => {
    const wrong = join(folder.path, "wrong.gguf")
    writeFileSync(wrong, "this is no model")
    await expect(load(wrong, options)).rejects.toThrow(GgufError)
    await expect(load("no-such-model", options)).rejects.toThrow(ModelNotFoundError)
    await expect(load(file, { ...options, device: "abacus" })).rejects.toThrow("abacus")
    await expect(load(file, { ...options, signal: AbortSignal.abort() })).rejects.toThrow("abort")
  })
})

describe("generate", () => {
  test("returns an async iterable of text, with a result", async () => {
    const generation = llm.generate("Once upon", fixed)
    const pieces: string[] = []
    for await (const piece of generation) pieces.push(piece)
    const { text, finishReason, usage, tokens, logprobs } = await generation.result()
    expect(pieces.length).toBeGreaterThan(1)
    expect(pieces.every((piece) => piece.length > 0)).toBe(true)
    expect(text).toBe(pieces.join(""))
    expect(text.length).toBeGreaterThan(0)
    expect(finishReason).toBe("length")
    expect(usage).toMatchObject({ completionTokens: 24, promptTokens: llm.tokenize("Once upon").length })
    expect(tokens.length).toBe(24)
    expect(llm.detokenize(tokens)).toBe(text)
    expect(logprobs).toBeUndefined()
  })

  test("gives the same result for every form of the input", async () => {
    const { text } = await llm.generate("Once upon", fixed).result()
    expect((await llm.generate({ prompt: "Once upon", ...fixed }).result()).text).toBe(text)
    expect((await llm.generate({ prompt: "Once upon", temperature: 2 }, fixed).result()).text).toBe(text)
    const answer = (await llm.chat(messages, fixed).result()).text
    expect((await llm.generate(messages, fixed).result()).text).toBe(answer)
    expect((await llm.generate({ messages, ...fixed }).result()).text).toBe(answer)
    expect(answer).not.toBe(text)
  })

  test("a seed reproduces sampling; without one, results differ", async () => {
    const hot = { ...fixed, temperature: 2, topK: 0, topP: 1, minP: 0 }
    const say = async (extra: object) => (await llm.generate("Once upon", { ...hot, ...extra }).result()).text
    expect(await say({ seed: 7 })).toBe(await say({ seed: 7n }))
    expect(await say({ seed: 7 })).not.toBe(await say({ seed: 8 }))
    expect(await say({})).not.toBe(await say({}))
  })

  test("stops at a stop string, and gives log-probabilities", async () => {
    const { text } = await llm.generate("Once upon", fixed).result()
    const stop = text.slice(6, 9)
    const stopped = await llm.generate("Once upon", { ...fixed, stop, logprobs: 2 }).result()
    expect(stopped).toMatchObject({ finishReason: "stop", stopString: stop })
    expect(stopped.text).toBe(text.slice(0, text.indexOf(stop)))
    expect(stopped.logprobs?.length).toBe(stopped.tokens.length)
    expect(stopped.logprobs?.[0]?.top.length).toBe(2)
    expect(stopped.logprobs?.[0]?.logprob).toBeLessThan(0)
  })

  test("enforces a constraint, and refuses an unsupported one", async () => {
    const schema = { type: "object", properties: { n: { type: "integer", minimum: 1, maximum: 9 } }, required: ["n"] }
    const { text } = await llm.generate("Once", { constraint: { type: "json_schema", schema } }).result()
    expect(JSON.parse(text).n).toBeWithin(1, 10)
    const refused = llm.generate("Once", { constraint: { type: "regex", pattern: "a(?=b)" } }).result()
    expect(refused).rejects.toMatchObject({ name: "RequestError", param: "constraint" })
  })

  test("concurrent generations give the same texts as sequential ones", async () => {
    const prompts = ["Once", "upon a", "time there was", "one"]
    const alone: string[] = []
    for (const prompt of prompts) alone.push((await llm.generate(prompt, fixed).result()).text)
    const together = await Promise.all(prompts.map((prompt) => llm.generate(prompt, fixed).result()))
    expect(together.map(({ text }) => text)).toEqual(alone)
  })

  test("ends when its reader leaves the loop, on cancel, and on its signal", async () => {
    const long = { ...fixed, maxTokens: 2000 }
    const left = llm.generate("Once upon", long)
    for await (const _ of left) break
    expect(await left.result()).toMatchObject({ finishReason: "cancelled" })
    expect((await left.result()).usage.completionTokens).toBeLessThan(100)
    expect(idle(llm.model.engine)).toBe(true)

    const controller = new AbortController()
    const aborted = llm.generate({ prompt: "Once upon", ...long, signal: controller.signal })
    let seen = ""
    for await (const piece of aborted) {
      seen += piece
      controller.abort()
    }
    expect(seen.length).toBeGreaterThan(0)
    expect(await aborted.result()).toMatchObject({ finishReason: "cancelled" })
    expect((await aborted.result()).text).toStartWith(seen)

    const cancelled = llm.generate("Once upon", long)
    const result = cancelled.result()
    await until(() => llm.model.engine.stats().running === 1)
    cancelled.cancel()
    expect((await result).finishReason).toBe("cancelled")
    const never = await llm.generate("Once upon", { ...long, signal: AbortSignal.abort() }).result()
    expect(never).toMatchObject({ text: "", finishReason: "cancelled" })
    expect(idle(llm.model.engine)).toBe(true)
  })

  test("throws typed errors when it is read, not when it is created", async () => {
    const tooLong = llm.generate("x".repeat(20_000))
    const read = async () => {
      for await (const _ of tooLong) throw new Error("there is no text")
    }
    await expect(read()).rejects.toThrow(RequestError)
    await expect(tooLong.result()).rejects.toThrow("context")
    await expect(llm.generate("x", { temperature: -1 }).result()).rejects.toThrow(RequestError)
    await expect(llm.generate("x", { seed: -1 }).result()).rejects.toThrow(RequestError)
    await expect(llm.generate("x", { stop: Array(65).fill("a") }).result()).rejects.toThrow(StopError)
    await expect(llm.generate("x", { ...fixed, maxTokens: 2000, deadlineMs: 1 }).result()).rejects.toThrow(
      OverloadedError,
    )
    expect(idle(llm.model.engine)).toBe(true)
  })
})

test("tokenize and detokenize", () => {
  const tokens = llm.tokenize("Hello, Grüße")
  expect(tokens).toBeInstanceOf(Int32Array)
  expect(llm.detokenize(tokens)).toBe("Hello, Grüße")
  expect(llm.tokenize("<|im_end|>").length).toBeGreaterThan(llm.tokenize("<|im_end|>", { special: true }).length)
  expect(llm.tokenize("a", { addBos: true }).length).toBe(llm.tokenize("a").length + 1)
})

describe("close", () => {
  test("using and await using free the model, also during a generation", async () => {
    let engine: Llm["model"]["engine"]
    let running: Promise<unknown>
    {
      await using own = await load(file, options)
      engine = own.model.engine
      running = own
        .generate("Once", { ...fixed, maxTokens: 2000 })
        .result()
        .catch((thrown) => thrown)
      await until(() => engine.stats().running === 1)
    }
    expect(engine.health().state).toBe("closed")
    expect(await running).toBeInstanceOf(EngineError)
    {
      using own = await load(file, options)
      engine = own.model.engine
      await own.close()
    }
    expect(engine.health().state).toBe("closed")
  })

  test("a closed model throws EngineError", async () => {
    const own = await load(file, options)
    await own.close()
    await own.close()
    await expect(own.generate("x").result()).rejects.toThrow(EngineError)
  })
})

describe("a dependent project", () => {
  const project = join(folder.path, "project")
  const bin = (name: string) => join(ROOT, "node_modules/.bin", name)

  beforeAll(async () => {
    mkdirSync(join(project, "node_modules/@types"), { recursive: true })
    writeFileSync(join(project, "package.json"), JSON.stringify({ name: "project", private: true, type: "module" }))
    // Install a link, as npm 10 does by default; npm 9 would copy the package and resolve its newest dependencies.
    const flags = ["--install-links=false", "--offline", "--no-audit", "--no-fund", "--ignore-scripts"]
    const install = ["npm", "install", ...flags, ROOT]
    const { code, stderr } = await runCommand(install, project)
    if (code !== 0) throw new Error(stderr)
    symlinkSync(join(ROOT, "node_modules/bun-types"), join(project, "node_modules/@types/bun"))
    writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions: BUN_DEFAULTS }))
    writeFileSync(join(project, "use.ts"), USE)
    writeFileSync(join(project, "serve.ts"), SERVE)
  })

  test("imports the package by name after npm install", async () => {
    const { text } = await llm.generate("Once upon", fixed).result()
    const { code, stdout, stderr } = await runCommand([process.execPath, "use.ts", file], project)
    expect(stderr).toBe("")
    expect(JSON.parse(stdout)).toEqual({ text, finishReason: "length", refused: "RequestError" })
    expect(code).toBe(0)
  })

  test("starts a server with the package", async () => {
    const { code, stdout } = await runCommand([process.execPath, "serve.ts", file], project)
    expect(stdout).toBe("tiny ready\n")
    expect(code).toBe(0)
  })

  test("type-checks against the package with the settings of bun init", async () => {
    const { code, stdout } = await runCommand([bin("tsc"), "--noEmit", "-p", "."], project)
    expect(stdout).toBe("")
    expect(code).toBe(0)
  })
})

const BUN_DEFAULTS = {
  lib: ["ESNext"],
  target: "ESNext",
  module: "Preserve",
  moduleDetection: "force",
  jsx: "react-jsx",
  allowJs: true,
  types: ["bun"],
  moduleResolution: "bundler",
  allowImportingTsExtensions: true,
  verbatimModuleSyntax: true,
  noEmit: true,
  strict: true,
  skipLibCheck: true,
  noFallthroughCasesInSwitch: true,
  noUncheckedIndexedAccess: true,
  noImplicitOverride: true,
}

const USE = `
import { type GenerationResult, load, RequestError } from "rocmforge"

await using llm = await load(process.argv[2] ?? "", { device: "cpu", threads: 1 })
const generation = llm.generate("Once upon", { temperature: 0, maxTokens: 24, ignoreEos: true })
let text = ""
for await (const piece of generation) text += piece
const { finishReason }: GenerationResult = await generation.result()
const refused = await llm.generate("").result().catch((error: unknown) => {
  if (!(error instanceof RequestError)) throw error
  return error.name
})
console.log(JSON.stringify({ text, finishReason, refused }))

// The lines below are never run: the types must reject them.
export const wrong = () => {
  // @ts-expect-error: not a form of input
  llm.generate(5)
  // @ts-expect-error: not an option
  llm.generate("x", { temprature: 1 })
  // @ts-expect-error: text where a number is required
  const n: number = text
  return n
}
`

// The server imports file types that only Bun's bundler knows, so this file is run but not type-checked.
const SERVE = `// @ts-nocheck
import { loadModel } from "rocmforge"

await using model = await loadModel(process.argv[2] ?? "", { device: "cpu", threads: 1 })
const { startServer } = await import("rocmforge" + "/server")
const server = await startServer({ models: [model], port: 0 })
const { data } = await (await fetch(server.url + "/v1/models")).json()
console.log(data[0].id, data[0].state)
await server.stop()
`
