/** Everything that can be wrong with a GGUF file, or with what a caller asks of one. */
export type GgufErrorCode =
  | "missing-file"
  | "directory"
  | "not-a-file"
  | "unreadable"
  | "empty-file"
  | "not-gguf"
  | "big-endian"
  | "unsupported-version"
  | "truncated"
  | "overflow"
  | "absurd-count"
  | "header-too-large"
  | "empty-name"
  | "bad-utf8"
  | "bad-value-type"
  | "bad-boolean"
  | "bad-alignment"
  | "nesting-too-deep"
  | "duplicate-key"
  | "duplicate-tensor"
  | "too-many-dimensions"
  | "zero-dimension"
  | "partial-block"
  | "misaligned-tensor"
  | "tensor-out-of-file"
  | "overlapping-tensors"
  | "split-not-first"
  | "split-mismatch"
  | "missing-split"
  | "unsupported-format"
  | "missing-key"
  | "wrong-type"
  | "missing-tensor"
  | "bad-request"

const DAMAGED = "the file is damaged or incomplete: download or convert it again"

/** What a reader of the message can do about it. */
const REMEDIES: Record<GgufErrorCode, string> = {
  "missing-file": "check the path",
  directory: "name a .gguf file in it",
  "not-a-file": "name a regular .gguf file",
  unreadable: "check the file's permissions and its disk",
  "empty-file": DAMAGED,
  "not-gguf": "convert the model to GGUF (llama.cpp's convert_hf_to_gguf.py does) or check the path",
  "big-endian": "convert the model again without big-endian output",
  "unsupported-version": "convert the model again with a current tool, which writes version 3",
  truncated: DAMAGED,
  overflow: DAMAGED,
  "absurd-count": DAMAGED,
  "header-too-large": DAMAGED,
  "empty-name": DAMAGED,
  "bad-utf8": DAMAGED,
  "bad-value-type": DAMAGED,
  "bad-boolean": DAMAGED,
  "bad-alignment": "convert the model again with general.alignment = 32",
  "nesting-too-deep": DAMAGED,
  "duplicate-key": "convert the model again: keys must be unique",
  "duplicate-tensor": "convert the model again: tensor names must be unique",
  "too-many-dimensions": "convert the model again: tensors have at most 4 dimensions",
  "zero-dimension": "convert the model again: tensors cannot be empty",
  "partial-block": "quantize the model again with a format whose block size divides its rows",
  "misaligned-tensor": "convert the model again",
  "tensor-out-of-file": DAMAGED,
  "overlapping-tensors": DAMAGED,
  "split-not-first": "open the first part, the others are found from it",
  "split-mismatch": "put the parts of one model, unrenamed, in one folder",
  "missing-split": "put all parts of the model in one folder",
  "unsupported-format": "use a file quantized to a supported format",
  "missing-key": "convert the model again with a current tool",
  "wrong-type": "convert the model again with a current tool",
  "missing-tensor": "the file is not a complete model of this architecture: convert it again",
  "bad-request": "correct the call",
}

interface GgufErrorPlace {
  /** The file concerned. */
  path: string
  /** The field concerned, for example `metadata "general.alignment"` or `tensor "output.weight" shape[1]`. */
  field?: string
  /** Where that field starts: bytes from the start of the file. */
  offset?: number
  cause?: unknown
}

/** A GGUF file that cannot be used, or a key or tensor it does not have. The message names file, field, offset and remedy. */
export class GgufError extends Error {
  override readonly name = "GgufError"
  readonly code: GgufErrorCode
  readonly path: string
  readonly field: string | undefined
  readonly offset: number | undefined

  constructor(code: GgufErrorCode, problem: string, place: GgufErrorPlace) {
    const where =
      place.field === undefined ? "" : `${place.field}${place.offset === undefined ? "" : ` at byte ${place.offset}`}: `
    super(`${place.path}: ${where}${problem} (${REMEDIES[code]})`, { cause: place.cause })
    this.code = code
    this.path = place.path
    this.field = place.field
    this.offset = place.offset
  }
}
