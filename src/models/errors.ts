export type ModelErrorCode =
  | "unknown-architecture"
  | "bad-config"
  | "missing-tensor"
  | "wrong-shape"
  | "wrong-format"
  | "unused-tensor"
  | "unsupported"

const REMEDIES: Record<ModelErrorCode, string> = {
  "unknown-architecture": "use a model of a known architecture",
  "bad-config": "the file's metadata contradicts itself: convert the model again with a current tool",
  "missing-tensor": "the file is not a complete model of this architecture: download or convert it again",
  "wrong-shape": "the file's tensors contradict its metadata: convert the model again with a current tool",
  "wrong-format": "convert the model again: norms and biases belong in F32",
  "unused-tensor":
    "the file needs a computation that this architecture does not have here: use another conversion of the model",
  unsupported: "use a model without this feature",
}

/** A readable GGUF file whose model cannot be run. The message names the key or tensor at fault and the remedy. */
export class ModelError extends Error {
  override readonly name = "ModelError"
  readonly code: ModelErrorCode
  readonly remedy: string

  constructor(code: ModelErrorCode, path: string, problem: string, remedy: string = REMEDIES[code]) {
    super(`${path}: ${problem} (${remedy})`)
    this.code = code
    this.remedy = remedy
  }
}
