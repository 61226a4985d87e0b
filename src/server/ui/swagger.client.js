// @ts-check
/* global SwaggerUIBundle */
SwaggerUIBundle({
  url: "/swagger/json",
  dom_id: "#swagger-ui",
  // The badge would send the description to a validator on the web.
  validatorUrl: null,
  defaultModelsExpandDepth: -1,
})
