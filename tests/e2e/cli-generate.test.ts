import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import { writeTinyModel } from "../support/tiny-model.ts"
import { TINY_TOKENS } from "../support/tiny-tokenizer.ts"
import { cleanEnvironment, cliJson, killLeftovers, ROOT, runCli, startCli, temporaryFolder } from "./cli-runner.ts"

const folder = temporaryFolder("generate")
const model = join(folder.path, "tiny.gguf")

beforeAll(async () => {
  await writeTinyModel(model, { context_length: 8192 })
})
afterEach(killLeftovers)
afterAll(folder.remove)

interface Generated {
  model: string
  device: { backend: string; name: string }
  text: string
  finish_reason: string
  stop_string?: string
  seed: string
  prompt_tokens: number[]
  tokens: number[]
  logprobs?: { id: number; logprob: number; top: { token: number; logprob: number }[] }[]
  usage: { prompt_tokens: number; completion_tokens: number }
  prompt_tokens_per_second: number | null
  decode_tokens_per_second: number | null
}

const BASE = ["generate", model, "--ignore-eos", "--max-tokens", "24"]
const GREEDY = [...BASE, "--temperature", "0"]
const generate = (args: string[], options = {}) =>
  cliJson<Generated>([...BASE, "--prompt", "the thing", ...args], options)

describe("generate", () => {
  test("streams text to standard output, and speeds to standard error", async () => {
    const { code, stdout, stderr } = await runCli([...GREEDY, "--prompt", "the thing"])
    const { text } = await generate(["--temperature", "0"])
    expect(code).toBe(0)
    expect(stdout).toBe(text.endsWith("\n") ? text : `${text}\n`)
    expect(stderr).toMatch(/prompt \d+ tokens, [\d.]+ tok\/s \| generated 24 tokens, [\d.]+ tok\/s \| length\n$/)
    expect(stderr).toContain("using the CPU")
  })

  test("prints no device line when --device is given", async () => {
    const { stderr } = await runCli([...GREEDY, "--prompt", "the thing", "--device", "cpu"])
    expect(stderr).toMatch(/^prompt /)
  })

  test("--json prints one object with the text, tokens and speeds", async () => {
    const result = await generate(["--temperature", "0"])
    expect(result.device.backend).toBe("cpu")
    expect(result.finish_reason).toBe("length")
    expect(result.tokens.length).toBe(24)
    expect(result.usage).toMatchObject({ prompt_tokens: result.prompt_tokens.length, completion_tokens: 24 })
    expect(result.prompt_tokens_per_second).toBeGreaterThan(0)
    expect(result.decode_tokens_per_second).toBeGreaterThan(0)
  })

  test("the prompt may come from a file or standard input", async () => {
    const path = join(folder.path, "prompt.txt")
    writeFileSync(path, "the thing\n")
    const { stdout } = await runCli([...GREEDY, "--prompt", "the thing"])
    expect((await runCli([...GREEDY, "--file", path])).stdout).toBe(stdout)
    expect((await runCli(GREEDY, { stdin: "the thing\n" })).stdout).toBe(stdout)
    expect((await runCli([...GREEDY, "--prompt", "-"], { stdin: "the thing" })).stdout).toBe(stdout)
    const aliases = ["generate", "--model", model, "--ignore-eos", "--max-tokens", "24", "--temperature", "0"]
    expect((await runCli([...aliases, "--prompt", "the thing"])).stdout).toBe(stdout)
  })

  test("a seed reproduces a run; another seed changes it; without --seed, a random one is used and printed", async () => {
    const seeded = await generate(["--seed", "7", "--temperature", "1.5"])
    expect(await generate(["--seed", "7", "--temperature", "1.5"])).toMatchObject({ tokens: seeded.tokens, seed: "7" })
    expect((await generate(["--seed", "8", "--temperature", "1.5"])).tokens).not.toEqual(seeded.tokens)
    const drawn = await generate(["--temperature", "1.5"])
    expect((await generate(["--seed", drawn.seed, "--temperature", "1.5"])).tokens).toEqual(drawn.tokens)
  })

  test("the number of threads does not change the text; the seed's high bits do", async () => {
    const one = await generate(["--temperature", "0", "--threads", "1"])
    expect((await generate(["--temperature", "0", "--threads", "2"])).tokens).toEqual(one.tokens)
    const low = await generate(["--seed", "1", "--temperature", "1.5"])
    expect((await generate(["--seed", String(2n ** 32n + 1n), "--temperature", "1.5"])).tokens).not.toEqual(low.tokens)
  })

  test("--top-k 1 is greedy at any temperature", async () => {
    const greedy = await generate(["--temperature", "0"])
    expect((await generate(["--top-k", "1", "--temperature", "5"])).tokens).toEqual(greedy.tokens)
    expect((await generate(["--top-p", "0", "--temperature", "5"])).tokens).toEqual(greedy.tokens)
    expect((await generate(["--min-p", "1", "--temperature", "5"])).tokens).toEqual(greedy.tokens)
  })

  test("--logit-bias forces and forbids tokens", async () => {
    const forced = await generate(["--temperature", "0", "--logit-bias", "70=100"])
    expect(new Set(forced.tokens)).toEqual(new Set([70]))
    const [first] = (await generate(["--temperature", "0"])).tokens
    const biases = ["--logit-bias", "70=100", "--logit-bias", `${first}=-100`, "--logit-bias", "70=-100"]
    expect((await generate(["--temperature", "0", ...biases])).tokens).not.toContain(first)
  })

  test("penalties prevent a biased token from repeating", async () => {
    const forced = ["--temperature", "0", "--logit-bias", "70=12"]
    const repeats = (tokens: number[]) => tokens.filter((id) => id === 70).length
    const free = repeats((await generate(forced)).tokens)
    expect(free).toBeGreaterThan(1)
    expect(repeats((await generate([...forced, "--frequency-penalty", "2"])).tokens)).toBeLessThan(free)
    expect(repeats((await generate([...forced, "--repeat-penalty", "100"])).tokens)).toBeLessThan(free)
  })

  test("--stop ends the output before the stop string, and reports which string matched", async () => {
    const whole = await generate(["--temperature", "0", "--logit-bias", "70=100"])
    const letter = whole.text[0] ?? ""
    const stopped = await generate([
      "--temperature",
      "0",
      "--logit-bias",
      "70=100",
      "--stop",
      "zz",
      "--stop",
      letter.repeat(3),
    ])
    expect(stopped).toMatchObject({ finish_reason: "stop", stop_string: letter.repeat(3), text: "" })
  })

  test("the model's end token ends generation, unless --ignore-eos is given", async () => {
    const args = ["generate", model, "--prompt", "the", "--max-tokens", "5", "--temperature", "0"]
    const force = ["--logit-bias", `${TINY_TOKENS.IM_END}=100`]
    const stopped = await cliJson<Generated>([...args, ...force])
    expect(stopped).toMatchObject({ finish_reason: "stop", text: "" })
    const ignored = await cliJson<Generated>([...args, ...force, "--ignore-eos"])
    expect(ignored).toMatchObject({ finish_reason: "length", usage: { completion_tokens: 5 } })
  })

  test("--logprobs prints the chosen token and its alternatives", async () => {
    const { tokens, logprobs } = await generate(["--temperature", "0", "--logprobs", "3"])
    expect(logprobs?.map(({ id }) => id)).toEqual(tokens)
    for (const { id, logprob, top } of logprobs ?? []) {
      expect(top.length).toBe(3)
      expect(top[0]?.token).toBe(id) // greedy
      expect(top[0]?.logprob).toBeCloseTo(logprob, 5)
      expect(logprob).toBeLessThanOrEqual(0)
    }
  })

  test("--chat formats the prompt with the model's chat template", async () => {
    const text = async (args: string[]) => {
      const { prompt_tokens } = await cliJson<Generated>([...GREEDY, ...args])
      return (await runCli(["detokenize", model, "--special", ...prompt_tokens.map(String)])).stdout.slice(0, -1)
    }
    const user = "<|im_start|>user\nthe thing<|im_end|>\n<|im_start|>assistant\n"
    expect(await text(["--chat", "--prompt", "the thing"])).toBe(user)
    expect(await text(["--chat", "--prompt", "the thing", "--system", "be on"])).toBe(
      `<|im_start|>system\nbe on<|im_end|>\n${user}`,
    )
    const template = join(folder.path, "template.jinja")
    writeFileSync(template, "[{{ messages[0].content }}]")
    expect(await text(["--chat", "--prompt", "the thing", "--chat-template", template])).toBe("[the thing]")
  })

  test.each([
    ["an empty prompt", ["--prompt", ""], "prompt"],
    ["a prompt longer than the context", ["--prompt", "x".repeat(200), "--ctx-size", "64"], "64"],
    ["a bias on a token that is not there", ["--prompt", "x", "--logit-bias", "999=1"], "999"],
  ])("%s is refused as bad input", async (_, args, text) => {
    const { code, stderr } = await runCli([...GREEDY, ...args])
    expect(stderr).toContain(text)
    expect(stderr).not.toContain("    at ")
    expect(code).toBe(2)
  })

  test("a full context ends generation", async () => {
    const args = [
      "generate",
      model,
      "--prompt",
      "the thing",
      "--ignore-eos",
      "--ctx-size",
      "32",
      "--max-tokens",
      "1000",
    ]
    const { finish_reason, usage } = await cliJson<Generated>(args)
    expect(finish_reason).toBe("length")
    expect(usage.prompt_tokens + usage.completion_tokens).toBeGreaterThanOrEqual(32)
    expect(usage.prompt_tokens + usage.completion_tokens).toBeLessThanOrEqual(33)
  })
})

const LONG = ["generate", model, "--prompt", "the thing", "--ignore-eos", "--max-tokens", "8000", "--temperature", "0"]

describe("interruption", () => {
  test("Ctrl-C ends the line, prints the speeds and exits with 130", async () => {
    const child = startCli(LONG)
    const reader = child.stdout.getReader()
    let output = ""
    const decoder = new TextDecoder()
    for (let signalled = false; ; ) {
      const { done, value } = await reader.read()
      if (done) break
      output += decoder.decode(value, { stream: true })
      if (!signalled) child.kill("SIGINT")
      signalled = true
    }
    expect(await child.exited).toBe(130)
    expect(output.endsWith("\n")).toBe(true)
    expect(await new Response(child.stderr).text()).toMatch(/generated \d+ tokens, .* \| cancelled\n$/)
  })

  test("a second Ctrl-C exits at once, even if generation does not stop", async () => {
    const script = `
      import { onInterrupt } from ${JSON.stringify(join(ROOT, "src/cli/interrupt.ts"))}
      using _ = onInterrupt(() => console.log("stopping"))
      console.log("ready")
      await new Promise((resolve) => setTimeout(resolve, 60_000))`
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" })
    const reader = child.stdout.getReader()
    const decoder = new TextDecoder()
    expect(decoder.decode((await reader.read()).value)).toBe("ready\n")
    child.kill("SIGINT")
    expect(decoder.decode((await reader.read()).value)).toBe("stopping\n")
    child.kill("SIGINT")
    await child.exited
    expect(child.signalCode).toBe("SIGINT")
  })

  test("a closed output pipe ends the command without an error message", async () => {
    const command = `{ "${process.execPath}" src/cli.ts ${LONG.slice(0, 2).join(" ")} --prompt the --ignore-eos --max-tokens 8000 --device cpu; echo "exit $?" >&2; } | head -c 5`
    const shell = Bun.spawn(["sh", "-c", command], {
      cwd: ROOT,
      env: cleanEnvironment(),
      stdout: "pipe",
      stderr: "pipe",
    })
    const [stdout, stderr] = await Promise.all([new Response(shell.stdout).bytes(), new Response(shell.stderr).text()])
    expect(stdout.length).toBe(5)
    expect(stderr).toBe("exit 0\n")
  })
})
