import { write, writeSync } from "node:fs"

/** The reader of standard output has closed it (`| head`), so the command has nothing left to do. */
export class BrokenPipeError extends Error {
  override readonly name = "BrokenPipeError"
}

const STDOUT = 1
const STDERR = 2
const RETRY_MS = 5
const encoder = new TextEncoder()

/**
 * Writes to standard output and resolves when the system has taken all bytes. So nothing is lost at exit, a slow reader slows down
 * the generation, and signals are handled while this waits.
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
      await Bun.sleep(RETRY_MS) // the pipe is full, and another process made it non-blocking
    }
  }
}

const writeSome = (bytes: Uint8Array, from: number): Promise<number> =>
  new Promise((resolve, reject) => {
    write(STDOUT, bytes, from, bytes.length - from, null, (error, count) => (error ? reject(error) : resolve(count)))
  })

export const printLine = (line = ""): Promise<void> => print(`${line}\n`)

let noteForm = (text: string): string => text

/** Sets how later notes are written, so that all of standard error has one format. */
export function formNotes(form: (text: string) => string): void {
  noteForm = form
}

/** Writes one line for the user to standard error. */
export const note = (text: string): void => writeNote(`${noteForm(text)}\n`)

/** Writes text to standard error. It is dropped when nobody reads it (EPIPE, EAGAIN), since the command can still do its work. */
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
