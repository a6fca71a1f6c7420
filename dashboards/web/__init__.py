"""The page that draws the Perses dashboards in a browser."""
