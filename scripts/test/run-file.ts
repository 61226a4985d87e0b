/** Runs one test file under `bun test` and reads the result from Bun's own summary. */

/** Time limit of a test. Bun's default of 5 s is too short for a test that loads a model on a busy machine. */
const TEST_TIMEOUT_MS = 120_000
/** A test that hangs inside a native call blocks Bun's own timer, so the whole process gets a limit too. */
const FILE_TIMEOUT_MS = 600_000

export interface FileResult {
  file: string
  passed: number
  failed: number
  skipped: number
  ms: number
  /** The output of Bun. */
  output: string
  /** A problem other than failing tests: a crash, a hang, a file without tests. */
  problem?: string
}

/** @param options.verbose Prints the output of Bun as it arrives. */
export async function runTestFile(options: { file: string; pattern?: string; verbose: boolean }): Promise<FileResult> {
  const { file, pattern, verbose } = options
  const filter = pattern === undefined ? [] : ["--test-name-pattern", pattern]
  const started = performance.now()
  const command = [process.execPath, "test", `./${file}`, "--timeout", String(TEST_TIMEOUT_MS), ...filter]
  const child = Bun.spawn(command, {
    env: process.env, // the current environment, not that at Bun's start
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  })
  let timedOut = false
  const timer = setTimeout(() => {
    timedOut = true
    child.kill("SIGKILL")
  }, FILE_TIMEOUT_MS)
  const chunks: string[] = []
  const collect = async (stream: ReadableStream<Uint8Array>) => {
    const decoder = new TextDecoder()
    for await (const chunk of stream) {
      chunks.push(decoder.decode(chunk, { stream: true }))
      if (verbose) process.stdout.write(chunk)
    }
  }
  // A child process that outlives the test may keep the pipes open, so reading stops soon after the process has exited.
  const reading = Promise.all([collect(child.stdout), collect(child.stderr)])
  const code = await child.exited
  await Promise.race([reading, Bun.sleep(2000)])
  clearTimeout(timer)

  const result = {
    ...interpret(chunks.join(""), code, pattern !== undefined),
    file,
    ms: performance.now() - started,
    output: chunks.join(""),
  }
  if (timedOut) result.problem = `killed: it ran longer than ${FILE_TIMEOUT_MS / 1000} s`
  else if (child.signalCode) result.problem = `crashed with ${child.signalCode}`
  return result
}

type Counts = Pick<FileResult, "passed" | "failed" | "skipped" | "problem">

/**
 * Reads the counts from Bun's summary at the end of the output (` 12 pass`, ` 1 fail`, …, `Ran 13 tests across 1 file.`). A process
 * with a nonzero exit code or without a summary counts as at least one failure.
 */
export function interpret(output: string, code: number, filtered: boolean): Counts {
  if (filtered && /^error: regex .* matched 0 tests/m.test(output)) return { passed: 0, failed: 0, skipped: 0 }
  const summary = /((?:^ +\d+ [a-z() ]+\n)+)^Ran (\d+) tests? across 1 file\./m.exec(output)
  if (!summary) return { passed: 0, failed: 1, skipped: 0, problem: `ended without a summary (exit code ${code})` }
  const count = (word: string) => Number(new RegExp(`^ +(\\d+) ${word}`, "m").exec(summary[1] ?? "")?.[1] ?? 0)
  const counts: Counts = { passed: count("pass"), failed: count("fail"), skipped: count("skip") + count("todo") }
  if (counts.passed + counts.failed + counts.skipped === 0) return { ...counts, failed: 1, problem: "holds no test" }
  if (code !== 0 && counts.failed === 0) return { ...counts, failed: 1, problem: `exit code ${code}` }
  return counts
}
