/** Start and end of engine processes, from source and from a compiled executable. */

import { afterAll, beforeAll, expect, test } from "bun:test"
import { join } from "node:path"
import { loadModel } from "../../src/engine/load.ts"
import { ENGINE_COMMAND, superviseModel } from "../../src/engine/process/index.ts"
import { EngineError, OverloadedError } from "../../src/errors.ts"
import { libraryPath } from "../../src/native/library.ts"
import { FakeClock } from "../support/clock.ts"
import { writeTinyModel } from "../support/tiny-model.ts"
import { ROOT, runCli, temporaryFolder } from "./cli-runner.ts"
import { FAULTS } from "./support/faults.ts"
import {
  atGate,
  children,
  gated,
  isAlive,
  openFiles,
  outcome,
  request,
  superviseFaulty,
  until,
} from "./support/supervised.ts"

const PROGRAM = join(import.meta.dir, "support/supervised-program.ts")
const folder = temporaryFolder("lifetime")
const path = join(folder.path, "tiny.gguf")
let expected: number[]

beforeAll(async () => {
  await writeTinyModel(path)
  await using model = await loadModel(path, { device: "cpu", threads: 1 })
  expected = (await outcome(model.engine, request([1, 2, 3]))).tokens
})
afterAll(() => folder.remove())

/** Starts the program, and reads the line that it prints after its engine has answered. */
async function startProgram(command: readonly string[], port = 0) {
  const program = Bun.spawn([...command, path, String(port)], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
    env: { ...process.env, ROCMFORGE_LIBRARY_PATH: join(libraryPath("cpu"), "..") },
  })
  const reader = program.stdout.getReader()
  const { value } = await reader.read()
  const said = JSON.parse(new TextDecoder().decode(value)) as {
    pid: number
    tokens: number[]
    port: number
    compiled: boolean
  }
  return { program, said }
}

test("a cancelled load ends at once, together with its process", async () => {
  const before = children()
  const controller = new AbortController()
  // This process never sends its ready message.
  const loading = superviseModel(path, { command: ["sleep", "infinity"], signal: controller.signal })
  loading.catch(() => {})
  await until("the process runs", () => children().length === before.length + 1)
  controller.abort()
  await expect(loading).rejects.toThrow(EngineError)
  expect(children()).toEqual(before)
  await expect(superviseModel(path, { signal: AbortSignal.abort() })).rejects.toThrow(EngineError)
})

test("the engine exits when its parent is killed, and the parent's port is free again", async () => {
  const { program, said } = await startProgram([process.execPath, PROGRAM])
  expect(said).toMatchObject({ tokens: expected, compiled: false })
  // A stopped engine cannot notice its parent's death. A socket inherited from the parent would stay open.
  process.kill(said.pid, "SIGSTOP")
  program.kill("SIGKILL")
  await program.exited
  expect(isAlive(said.pid)).toBe(true)
  const second = await startProgram([process.execPath, PROGRAM], said.port)
  expect(second.said.port).toBe(said.port)
  process.kill(said.pid, "SIGCONT")
  await until("the first engine is gone", () => !isAlive(said.pid))
  expect(await (await fetch(`http://127.0.0.1:${said.port}`)).text()).toBe("here")
  second.program.kill("SIGKILL")
  await until("the second engine is gone", () => !isAlive(second.said.pid))
})

test("a compiled executable runs itself as its engine", async () => {
  const executable = join(folder.path, "program")
  const build = Bun.spawn([process.execPath, "build", "--compile", PROGRAM, "--outfile", executable], {
    cwd: ROOT,
    stdout: "ignore",
    stderr: "pipe",
  })
  const [code, log] = await Promise.all([build.exited, new Response(build.stderr).text()])
  expect({ code, log: code === 0 ? "" : log }).toEqual({ code: 0, log: "" })
  const { program, said } = await startProgram([executable])
  expect(said).toMatchObject({ tokens: expected, compiled: true })
  const commandLine = await Bun.file(`/proc/${said.pid}/cmdline`).text()
  expect(commandLine.split("\0").slice(0, 3)).toEqual([executable, ENGINE_COMMAND, "tiny"])
  program.kill("SIGKILL")
  await until("the engine is gone", () => !isAlive(said.pid))
})

test("the internal command refuses to run without a parent server", async () => {
  const { code, stderr } = await runCli([ENGINE_COMMAND])
  expect(code).toBe(2)
  expect(stderr).toContain("the server's own use")
})

test("a program without the internal command does not start itself endlessly", async () => {
  const program = `
    import { superviseModel } from ${JSON.stringify(join(ROOT, "src/engine/process/index.ts"))}
    process.argv[2] = ${JSON.stringify(ENGINE_COMMAND)} // as in the arguments of its engine process
    await superviseModel(${JSON.stringify(path)}).catch((error) => console.log(error.name, error.message))`
  const child = Bun.spawn([process.execPath, "-e", program], { stdin: "ignore", stdout: "pipe" })
  expect(await new Response(child.stdout).text()).toMatch(/^EngineError this program has no command/)
})

test("an engine process ignores Ctrl-C and SIGTERM", async () => {
  const { engine, reports, files } = superviseFaulty()
  await engine.started
  const pid = engine.pid ?? 0
  const running = await atGate(engine)
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.kill(pid, signal)
  for (const gate of ["gate", "secondGate"] as const) files.set(gate)
  expect((await running.outcome).tokens).toHaveLength(60)
  expect(engine.pid).toBe(pid)
  expect(reports).toEqual([])
  await engine.close()
})

test("draining completes running requests and refuses new ones", async () => {
  const { engine, files } = superviseFaulty({ clock: new FakeClock() })
  await engine.started
  const running = await Promise.all([10, 60].map((maxTokens) => atGate(engine, gated({ maxTokens }))))
  const drained = engine.drain(60_000)
  expect(engine.health()).toMatchObject({ state: "draining" })
  const late = await outcome(engine, request([1]))
  expect(late.error).toBeInstanceOf(OverloadedError)
  expect(late.error).toMatchObject({ code: "unavailable" })
  for (const gate of ["gate", "secondGate"] as const) files.set(gate)
  await drained
  const outcomes = await Promise.all(running.map(({ outcome }) => outcome))
  expect(outcomes.map(({ tokens }) => tokens.length)).toEqual([10, 60])
  await engine.drain(0) // resolves at once, because nothing runs
  await engine.close()
})

test("draining fails requests that take too long", async () => {
  const clock = new FakeClock()
  const { engine, files } = superviseFaulty({ clock })
  await engine.started
  const running = await atGate(engine)
  const drained = engine.drain(100)
  await clock.advance(99)
  expect(engine.stats().running).toBe(1)
  await clock.advance(1)
  await drained
  const { error, tokens } = await running.outcome
  expect(error).toBeInstanceOf(OverloadedError)
  expect((error as Error).message).toContain("did not end within 0.1 s")
  expect(tokens).toHaveLength(3)
  files.set("gate")
  await engine.close()
})

test("close ends every request and the process, at any time, also when called twice", async () => {
  const nOpen = openFiles()
  const { engine, files } = superviseFaulty()
  await engine.started
  const pid = engine.pid ?? 0
  const running = await atGate(engine)
  const closed = [engine.close(), engine.close()]
  files.set("gate")
  await Promise.all(closed)
  expect((await running.outcome).error).toMatchObject({ name: "EngineError", message: "the engine was closed" })
  expect(isAlive(pid)).toBe(false)
  await engine.close()
  expect((await outcome(engine, request([1]))).error).toBeInstanceOf(EngineError)
  expect(engine.health()).toMatchObject({ state: "closed" })

  const starting = superviseFaulty().engine
  await starting.close()
  expect(await starting.started.catch((error: unknown) => error)).toBeInstanceOf(EngineError)

  const clock = new FakeClock()
  const { engine: hung, files: marks } = superviseFaulty({ graceMs: 200, clock })
  await hung.started
  const hungPid = hung.pid ?? 0
  const never = outcome(hung, request([FAULTS.hang]))
  await until("a step hangs", () => marks.nHangs === 1)
  const closing = hung.close()
  await clock.advance(199)
  expect(isAlive(hungPid)).toBe(true)
  await clock.advance(1)
  await closing
  expect((await never).error).toBeInstanceOf(EngineError)
  expect(children()).toEqual([])
  expect(openFiles()).toBe(nOpen)
})

test("a model that cannot be loaded leaves no process behind", async () => {
  const error = await superviseModel(path, { device: "cpu", ctxSize: 2 ** 40 }).catch((thrown: unknown) => thrown)
  expect(error).toMatchObject({ name: "NativeError", status: "OUT_OF_MEMORY" })
  expect(children()).toEqual([])
})
