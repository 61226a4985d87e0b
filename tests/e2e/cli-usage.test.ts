import { afterAll, beforeAll, describe, expect, test } from "bun:test"
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import packageJson from "../../package.json" with { type: "json" }
import { tinyModel, writeTinyModel } from "../support/tiny-model.ts"
import { runCli, temporaryFolder } from "./cli-runner.ts"

const COMMANDS = ["generate", "serve", "inspect", "bench", "tokenize", "detokenize", "devices"]
const folder = temporaryFolder("usage")
const model = join(folder.path, "tiny.gguf")

beforeAll(async () => {
  await writeTinyModel(model)
})
afterAll(folder.remove)

describe("help", () => {
  test("--version prints the package's version", async () => {
    expect(await runCli(["--version"])).toEqual({ code: 0, stdout: `${packageJson.version}\n`, stderr: "" })
  })

  test("--help lists the commands, the environment and the exit codes", async () => {
    const { code, stdout } = await runCli(["--help"])
    expect(code).toBe(0)
    for (const command of COMMANDS) expect(stdout).toContain(`\n  ${command} `)
    for (const text of ["ROCMFORGE_HOME", "HF_ENDPOINT", "Exit codes:", "  130  ", "Examples:"])
      expect(stdout).toContain(text)
  })

  test.each(COMMANDS)("%s --help has examples", async (command) => {
    const { code, stdout } = await runCli([command, "--help"])
    expect(code).toBe(0)
    expect(stdout).toContain(`Usage: rocmforge ${command}`)
    expect(stdout).toContain(`\nExamples:\n  `)
  })

  test("prints no escape sequences to a pipe", async () => {
    const { stdout, stderr } = await runCli(["generate", "--nonsense"])
    expect(stdout + stderr).not.toContain("\u001b")
  })
})

describe("wrong usage exits with 2 and an error that names the fault", () => {
  const cases: [string, string[], string][] = [
    ["no command", [], "Usage: rocmforge"],
    ["an unknown command", ["frobnicate"], "frobnicate"],
    ["an unknown flag", ["generate", "M", "--temprature", "1"], "--temprature"],
    ["a flag without its value", ["generate", "M", "--prompt"], "--prompt"],
    ["no model", ["inspect"], "name a model"],
    ["a model named by both aliases", ["inspect", "--model", "a", "--gguf", "b"], "--gguf"],
    ["a model named by flag and argument", ["inspect", "--model", "a", "b"], '"b"'],
    ["an argument too many", ["devices", "x"], '"x"'],
    ["a model served twice", ["serve", "m", "--model", "m"], "twice"],
    ["a prompt twice", ["generate", "M", "--prompt", "x", "--file", "y"], "--file"],
    ["a prompt file that is not there", ["generate", "M", "--file", "/nonexistent/prompt"], "/nonexistent/prompt"],
    ["--system without --chat", ["generate", "M", "--prompt", "x", "--system", "y"], "--chat"],
    ["--logprobs without --json", ["generate", "M", "--prompt", "x", "--logprobs", "1"], "--json"],
  ]
  test.each(cases)("%s", async (_, args, text) => {
    const { code, stdout, stderr } = await runCli(args)
    expect(stderr + stdout).toContain(text)
    expect(code).toBe(2)
  })

  const numbers: [string, string, string][] = [
    ["--temperature", "-1", "a number from 0 to 5"],
    ["--temperature", "warm", "a number from 0 to 5"],
    ["--top-k", "1.5", "a whole number from 0 to"],
    ["--top-p", "1.01", "a number from 0 to 1"],
    ["--min-p", "NaN", "a number from 0 to 1"],
    ["--repeat-penalty", "0", "a number from 0.01 to 100"],
    ["--frequency-penalty", "3", "a number from -2 to 2"],
    ["--presence-penalty", "-2.5", "a number from -2 to 2"],
    ["--max-tokens", "0", "a whole number from 1 to"],
    ["--max-tokens", "", "a whole number from 1 to"],
    ["--seed", "-1", "a whole number from 0 to 2^64 - 1"],
    ["--seed", "18446744073709551616", "a whole number from 0 to 2^64 - 1"],
    ["--logit-bias", "5", "ID=BIAS"],
    ["--logit-bias", "5=101", "ID=BIAS"],
    ["--logprobs", "21", "a whole number from 0 to 20"],
    ["--threads", "0", "a whole number from 1 to 1024"],
    ["--ctx-size", "Infinity", "a whole number from 1 to"],
    ["--kv-type", "q4_0", "f16, f32 or q8_0"],
    ["--stop", "", "must not be empty"],
  ]
  test.each(numbers)("%s %j", async (flag, value, allowed) => {
    const { code, stderr } = await runCli(["generate", "M", "--prompt", "x", flag, value])
    expect(stderr).toContain(`${flag} `)
    expect(stderr).toContain(allowed)
    expect(code).toBe(2)
  })

  test("an invalid environment variable is named together with its flag", async () => {
    const { code, stderr } = await runCli(["generate", "M", "--prompt", "x"], { env: { ROCMFORGE_THREADS: "many" } })
    expect(stderr).toContain("--threads (or ROCMFORGE_THREADS) must be a whole number")
    expect(code).toBe(2)
  })
})

describe("an unusable model exits with 3", () => {
  const path = (name: string) => join(folder.path, name)
  beforeAll(() => {
    writeFileSync(path("not-gguf.gguf"), "this is a text file, and long enough to hold a header\n".repeat(4))
    writeFileSync(path("empty.gguf"), "")
    writeFileSync(path("cut.gguf"), tinyModel().subarray(0, 20_000))
  })

  const cases: [string, () => string, string][] = [
    ["a missing file", () => path("missing.gguf"), "there is no file"],
    ["an unknown name", () => "no-such-model", "smollm2-135m"],
    ["a directory", () => folder.path, "is a directory"],
    ["a file that is no GGUF", () => path("not-gguf.gguf"), "not-gguf.gguf"],
    ["an empty file", () => path("empty.gguf"), "empty.gguf"],
    ["a truncated file", () => path("cut.gguf"), "cut.gguf"],
    ["a malformed hub name", () => "hf:nobody", "hf:owner/repo"],
  ]
  describe.each(["inspect", "generate", "tokenize"])("%s", (command) => {
    test.each(cases)("%s", async (_, name, text) => {
      const prompt = command === "generate" ? ["--prompt", "x"] : []
      const { code, stdout, stderr } = await runCli([command, name(), ...prompt], {
        env: { ROCMFORGE_HOME: folder.path },
      })
      expect(stderr).toContain(text)
      expect(stderr).not.toContain("    at ")
      expect(stdout).toBe("")
      expect(code).toBe(3)
    })
  })

  test("an unreachable hub", async () => {
    const env = { ROCMFORGE_HOME: folder.path, HF_ENDPOINT: "http://127.0.0.1:1" }
    const { code, stderr } = await runCli(["inspect", "hf:maker/model/file.gguf"], { env })
    expect(stderr).toContain("127.0.0.1:1 cannot be reached")
    expect(code).toBe(3)
  })
})

describe("an unusable device exits with 4", () => {
  const cases: [string, string[], Record<string, string>, string][] = [
    ["an unknown device", ["--device", "tpu"], {}, '"tpu" is not a device'],
    ["a second CPU", ["--device", "cpu:1"], {}, "this machine has"],
    ["a library that is not built", ["--device", "amd"], { ROCMFORGE_LIBRARY_PATH: "/nonexistent" }, "bun run build"],
    ["no library at all", [], { ROCMFORGE_LIBRARY_PATH: "/nonexistent" }, "bun run build"],
  ]
  test.each(cases)("%s", async (_, args, env, text) => {
    const { code, stdout, stderr } = await runCli(["generate", model, "--prompt", "x", ...args], { env })
    expect(stderr).toContain(text)
    expect(stdout).toBe("")
    expect(code).toBe(4)
  })
})
