"""What is known about trees and notes from elsewhere, as data, and the RFC read slowly."""
