"""Apps: the panel of the demo, its Streamlit twin, and the pages of an inspection."""
