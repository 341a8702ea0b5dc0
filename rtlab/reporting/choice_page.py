def choice_page(choice): return "<html>"
