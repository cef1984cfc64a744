// Opened from a folder, a page may not read other files: search shows titles without excerpts, and no errors.
if (window.location.protocol === "file:") {
  DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;
}
