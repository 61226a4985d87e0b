import type { StatusName } from "./abi.ts"

/** `LIBRARY`: the native library itself is missing, or was built from other sources. The rest are statuses of `hip/abi.h`. */
export type NativeStatus = Exclude<StatusName, "OK"> | "LIBRARY"

const REMEDIES: Record<NativeStatus, string> = {
  LIBRARY: "run `bun run build`, or set ROCMFORGE_LIBRARY_PATH to the folder that holds the library",
  INVALID_ARGUMENT: "check the arguments of the call",
  INVALID_HANDLE: "open the model or context again: it was closed",
  INVALID_MODEL: "check the model file (`rocmforge inspect MODEL --tensors`), or download it again",
  INVALID_PLAN: "check the plan (`rocmforge inspect MODEL --plan`)",
  INVALID_STEP: "check the step that was packed: this is a fault in ROCmForge's scheduler",
  OUT_OF_MEMORY: "use a shorter context, fewer sequences, or a smaller model",
  IO: "check that the model file is readable and complete",
  UNSUPPORTED: "use another backend or another quantization of the model",
  DEVICE: "check the device and its driver, or use `--device cpu`",
  INTERNAL: "report this with the command that caused it",
}

/** An error status of the native library, or a library that cannot be used. `remedy` says what to do about it. */
export class NativeError extends Error {
  override readonly name = "NativeError"
  readonly status: NativeStatus
  readonly remedy: string

  constructor(status: NativeStatus, message: string, remedy: string = REMEDIES[status]) {
    super(`${message} (${remedy})`)
    this.status = status
    this.remedy = remedy
  }
}
