// Draws the contract with swagger-ui. Nothing is kept in the browser and nothing is asked of another host.
"use strict";
const place = document.getElementById("console");
window.ui = SwaggerUIBundle({
  domNode: place,
  url: place.dataset.contract,
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  persistAuthorization: false,
  tryItOutEnabled: true,
});
