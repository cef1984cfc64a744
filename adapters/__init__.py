"""The borders to other ecosystems. Imported as `hoam_plugin.adapters`."""
