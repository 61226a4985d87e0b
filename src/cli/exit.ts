/** Exit codes, which are stable for scripts; `--help` lists them. */
export const EXIT = {
  ok: 0,
  runtime: 1,
  usage: 2,
  model: 3,
  device: 4,
  interrupted: 130,
} as const

export const EXIT_HELP = `Exit codes:
  0    success (also when the reader of the output closed the pipe)
  1    failure while running
  2    wrong usage, or an input that cannot be used
  3    the model was not found, could not be downloaded, or cannot be read
  4    the requested device cannot be used
  130  interrupted with Ctrl-C (a second Ctrl-C ends the program at once)`

/** The command line is wrong, or an input that it names. */
export class UsageError extends Error {
  override readonly name = "UsageError"
}

/** The user pressed Ctrl-C. */
export class InterruptedError extends Error {
  override readonly name = "InterruptedError"
}

/** The command failed for a reason that the message explains, so no stack is printed. */
export class CommandError extends Error {
  override readonly name = "CommandError"
}

/** Exit codes by the name of the error's class, so that no class has to be imported here. */
const CODES: Readonly<Record<string, number>> = {
  InterruptedError: EXIT.interrupted,
  CommandError: EXIT.runtime,
  UsageError: EXIT.usage,
  ContextOverflowError: EXIT.usage,
  RequestError: EXIT.usage,
  TokenizerError: EXIT.usage,
  ChatTemplateError: EXIT.usage,
  StopError: EXIT.usage,
  BudgetError: EXIT.usage,
  TlsError: EXIT.usage,
  StoreError: EXIT.model,
  ModelNotFoundError: EXIT.model,
  ChecksumError: EXIT.model,
  DownloadError: EXIT.model,
  GgufError: EXIT.model,
  ModelError: EXIT.model,
  DeviceError: EXIT.device,
  EngineError: EXIT.runtime,
}

const NATIVE_CODES: Readonly<Record<string, number>> = {
  LIBRARY: EXIT.device,
  DEVICE: EXIT.device,
  IO: EXIT.model,
  INVALID_MODEL: EXIT.model,
}

interface Failure {
  code: number
  /** The text for the user. An error of an unknown class is a fault in ROCmForge, so its stack is included. */
  message: string
}

/** The exit code and message of an error. */
export function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { code: EXIT.runtime, message: String(error) }
  if (error.name === "NativeError") {
    const status: unknown = "status" in error ? error.status : undefined
    const code = typeof status === "string" ? NATIVE_CODES[status] : undefined
    return { code: code ?? EXIT.runtime, message: error.message }
  }
  const code = CODES[error.name]
  if (code !== undefined) return { code, message: error.message }
  return { code: EXIT.runtime, message: error.stack ?? error.message }
}
