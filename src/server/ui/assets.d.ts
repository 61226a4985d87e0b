/** A browser script or style sheet, imported `with {type: "text"}`. */
declare module "*.client.js" {
  const source: string
  export default source
}
declare module "*.css" {
  const source: string
  export default source
}
/** A file of Swagger UI imported `with {type: "file"}`: the file's path on disk or in the compiled executable. */
declare module "swagger-ui-dist/*" {
  const path: string
  export default path
}
