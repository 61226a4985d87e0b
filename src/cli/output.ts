import { write, writeSync } from "node:fs"

/** The reader of standard output has gone (`| head`): there is nobody left to write for. */
export class BrokenPipeError extends Error {
  override readonly name = "BrokenPipeError"
}

const STDOUT = 1
const STDERR = 2
const RETRY_MS = 5
const encoder = new TextEncoder()

/**
 * Writes to standard output and resolves when the system has taken all of it: nothing is lost at exit, a slow reader slows the
 * generation down, and signals are still heard meanwhile.
 * @throws BrokenPipeError
 */
export async function print(text: string): Promise<void> {
  const bytes = encoder.encode(text)
  let written = 0
  while (written < bytes.length) {
    try {
      written += await writeSome(bytes, written)
    } catch (error) {
      if (errorCode(error) === "EPIPE") throw new BrokenPipeError("standard output was closed")
      if (errorCode(error) !== "EAGAIN") throw error
      await Bun.sleep(RETRY_MS) // a pipe that somebody made non-blocking is full
    }
  }
}

const writeSome = (bytes: Uint8Array, from: number): Promise<number> =>
  new Promise((resolve, reject) => {
    write(STDOUT, bytes, from, bytes.length - from, null, (error, count) => (error ? reject(error) : resolve(count)))
  })

export const printLine = (line = ""): Promise<void> => print(`${line}\n`)

let noteForm = (text: string): string => text

/** How notes are written from now on: standard error is of one form. */
export function formNotes(form: (text: string) => string): void {
  noteForm = form
}

/** A line for the user beside the output, on standard error. */
export const note = (text: string): void => writeNote(`${noteForm(text)}\n`)

/** Writes to standard error as it stands. What nobody reads (EPIPE, EAGAIN) is dropped: the work still counts. */
export function writeNote(text: string): void {
  try {
    writeSync(STDERR, text)
  } catch (error) {
    const code = errorCode(error)
    if (code !== "EPIPE" && code !== "EAGAIN") throw error
  }
}

function errorCode(error: unknown): string | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : undefined
}
