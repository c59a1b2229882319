"""mien"""
