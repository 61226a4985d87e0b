// @ts-check
/* global SwaggerUIBundle */
SwaggerUIBundle({
  url: "/swagger/json",
  dom_id: "#swagger-ui",
  // Turns off the validator badge, which would send the API description to a public web service.
  validatorUrl: null,
  defaultModelsExpandDepth: -1,
})
