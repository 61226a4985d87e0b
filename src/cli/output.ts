import { writeSync } from "node:fs"

/** The reader of standard output has gone (`| head`): there is nobody left to write for. */
export class BrokenPipeError extends Error {
  override readonly name = "BrokenPipeError"
}

const STDOUT = 1
const STDERR = 2
const encoder = new TextEncoder()
const pause = new Int32Array(new SharedArrayBuffer(4))

/**
 * Writes to standard output, all of it, before returning: nothing is lost at exit, and a slow reader slows the generation down.
 * @throws BrokenPipeError
 */
export function print(text: string): void {
  try {
    writeAll(STDOUT, text)
  } catch (error) {
    if (errorCode(error) === "EPIPE") throw new BrokenPipeError("standard output was closed")
    throw error
  }
}

export const printLine = (line = ""): void => print(`${line}\n`)

/** A line for the user beside the output, on standard error. */
export function note(line: string): void {
  try {
    writeAll(STDERR, `${line}\n`)
  } catch (error) {
    if (errorCode(error) !== "EPIPE") throw error // nobody reads the notes: the work still counts
  }
}

function writeAll(fd: number, text: string): void {
  const bytes = encoder.encode(text)
  let written = 0
  while (written < bytes.length) {
    try {
      written += writeSync(fd, bytes, written)
    } catch (error) {
      if (errorCode(error) !== "EAGAIN") throw error
      Atomics.wait(pause, 0, 0, 5) // a pipe that somebody made non-blocking is full
    }
  }
}

function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined
}
